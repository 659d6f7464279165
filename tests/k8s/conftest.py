from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.nodes import Nodes, empty_nodes, make_secrets


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What k8s/secrets.sh makes."""
    return make_secrets(tmp_path_factory.mktemp("secrets"))


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Six empty nodes without TLS and ACL."""
    with empty_nodes(tmp_path) as started:
        yield started
