"""What `rls istio` writes for rules of several kinds, in a real gateway and a real sidecar: limits are as the rules say."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from rls.cli import app
from tests.e2e.istio import IstioMesh, a_company, an_address
from tests.e2e.mesh import Mesh
from tests.mesh.manifests import load

RULES = """\
domain: shop
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: year, requests_per_unit: 5}
    descriptors:
      - key: kind
        value: export
        rate_limit: {name: exports, unit: year, requests_per_unit: 2}
  - key: tier
    value: trial
    descriptors:
      - key: remote_address
        rate_limit: {name: trial, unit: year, requests_per_unit: 3}
"""
SOURCES = ("--claim", "company_id=company_id", "--header", "kind=x-kind", "--constant", "tier")


@pytest.fixture(scope="module", params=["sidecar", "gateway"])
def istio(request, tmp_path_factory, issuer, users):
    folder: Path = tmp_path_factory.mktemp("istio-command")
    (folder / "shop.yaml").write_text(RULES)
    result = CliRunner().invoke(app, ["istio", str(folder / "shop.yaml"), "--at", request.param, *SOURCES])
    assert result.exit_code == 0, result.output
    written = list(yaml.safe_load_all(result.output))
    names = {(one["metadata"]["name"], one["metadata"]["namespace"]) for one in written}
    objects = load(*(["at-gateway"] if request.param == "gateway" else []))
    others = [one for one in objects if (one["metadata"]["name"], one["metadata"].get("namespace")) not in names]
    assert len(others) == len(objects) - len(written), "it has the names of the files that it stands for"
    with closing(Mesh(folder, issuer, users)) as mesh:
        yield IstioMesh(mesh, [mesh.start_rls(rules=RULES)], objects=[*others, *written])


def test_limits_are_as_the_rules_say(istio: IstioMesh) -> None:
    """Each request is in the trial of its address; that of a company counts for it, and exports are counted apart."""
    token = istio.token(a_company())
    assert [istio.get(token, source=an_address(), x_kind="export").status for _ in range(3)] == [200, 200, 429]
    assert [istio.get(token, source=an_address()).status for _ in range(3)] == [200, 200, 429], "five in all"
    assert istio.statuses(4, source=an_address()) == [200, 200, 200, 429]
