import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.nodes import ROOT, Nodes, empty_nodes, program


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What k8s/secrets.sh makes."""
    program("openssl")
    directory = tmp_path_factory.mktemp("secrets")
    subprocess.run([ROOT / "k8s" / "secrets.sh", directory], check=True, capture_output=True)
    return directory


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Six empty nodes without TLS and ACL."""
    with empty_nodes(tmp_path) as started:
        yield started
