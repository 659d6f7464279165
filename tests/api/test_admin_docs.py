"""docs/admin-api.md shows each route by example; a server that was asked the same must answer in the same shape."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from examples.mesh.http import ask
from rls.api.admin.app import PREFIX
from tests.rls_process import RlsProcess


class Example(NamedTuple):
    """A command of the page, and what it says that the server answers."""

    path: str
    method: str
    body: str
    shown: str


PAGE = (Path(__file__).parents[2] / "docs" / "admin-api.md").read_text()
RULES = re.findall(r"```yaml\n(domain: mesh.*?)```", PAGE, re.DOTALL)[0]
TOKEN = "a-token-of-these-tests"
_COMMAND = r"""^\$ curl -s '?localhost:6070(/\S*?)'?(?: -H "Authorization: Bearer \$TOKEN")?(?: -X (\w+))?(?: (?:--json|-d) '([^'\n]*)')?"""
EXAMPLES = [
    Example(path, method or ("POST" if body else "GET"), body, shown)
    for path, method, body, shown in re.findall(_COMMAND + r"\n([\[{].*?)(?=^\$ |^```)", PAGE, re.MULTILINE | re.DOTALL)
]
"""In the order of the page."""


def shape(value: Any) -> Any:
    """The names and kinds of *value*; of a list those of its first item."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def difference(shown: Any, found: Any, where: str = "") -> str:
    """Where two shapes differ; "" where they do not. What may be null, and lists that may be empty, are like others."""
    if isinstance(shown, dict) and isinstance(found, dict):
        if list(shown) != list(found):
            return f"{where}: the page has {list(shown)}, the server {list(found)}"
        return "".join(difference(shown[name], found[name], f"{where}.{name}") for name in shown)
    if isinstance(shown, list) and isinstance(found, list):
        return difference(shown[0], found[0], f"{where}[0]") if shown and found else ""
    return "" if shown == found or "NoneType" in (shown, found) else f"{where}: {shown} on the page, {found} here"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One that has refused, would have refused, and does not know some names."""
    folder = tmp_path_factory.mktemp("admin")
    (folder / "tokens").write_text(f"alice:{TOKEN}")
    found = RlsProcess(folder, "--admin-token-file", str(folder / "tokens"), rules=RULES)
    http = int(found.addresses["http"].rpartition(":")[2])

    def check(key: str, value: str, times: int, domain: str = "mesh") -> None:
        asked = {"domain": domain, "descriptors": [{"entries": [{"key": key, "value": value}]}]}
        for _ in range(times):
            ask(http, "/json", method="POST", body=json.dumps(asked).encode())

    check("company_id", "acme", 12)
    check("company_id", "umbrella", 5)
    check("remote_address", "203.0.113.7", 5)
    check("path", "/checkout", 1)
    check("company_id", "acme", 1, "messh")
    yield found
    found.kill()


def test_the_server_answers_as_the_page_shows(server) -> None:
    """One command after the other: a later one may need what an earlier one did."""
    name = ""
    port = int(server.addresses["admin"].rpartition(":")[2])
    for path, method, body, shown in EXAMPLES:
        headers = {} if method == "GET" else {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        target = path.replace("1f6a09c2", name)
        answer = ask(port, target, headers, method=method, body=body.encode() or None)
        assert answer.status == (400 if '"expected"' in shown else 200), (path, answer.body)
        assert difference(shape(json.loads(shown)), shape(answer.json())) == "", path
        if "replaced" in answer.json():
            name = answer.json()["override"]["id"]


def test_each_route_has_an_example(server) -> None:
    listed = server.get(PREFIX, "admin").json()
    shown = {
        re.sub(r"/rules/[^/]+/.+/top", "/rules/{domain}/{rule}/top", one.path.partition("?")[0]).replace(
            "/1f6a09c2", "/{id}"
        )
        for one in EXAMPLES
    }
    assert sorted(listed) == sorted(shown | {f"{PREFIX}/openapi.json"})  # it has a test of its own
    assert [path for path in listed if f"`{path}`" not in PAGE] == []
