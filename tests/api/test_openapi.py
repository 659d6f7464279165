"""The OpenAPI document says what the code does: its routes, their parameters, and what each answers."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from examples.mesh.http import Answer, ask
from rls.api.admin.app import PREFIX
from tests.api.test_admin_docs import EXAMPLES, RULES, TOKEN
from tests.rls_process import RlsProcess

METHODS = {"get", "post", "delete"}


def strict(schema: Any) -> Any:
    """*schema*, which admits no members that it does not name: for answers of the same version."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(one) for name, one in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


class Api:
    """The admin API of a server that has refused, would have refused, and does not know some names."""

    def __init__(self, server: RlsProcess) -> None:
        self.server = server
        self._port = int(server.addresses["admin"].rpartition(":")[2])
        self.document = self.ask(f"{PREFIX}/openapi.json").json()
        self.components = {"components": self.document["components"]}

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> Answer:
        headers = {} if method == "GET" else {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        return ask(self._port, path, headers, method=method, body=body)

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                assert method in METHODS
                yield path, method.upper(), operation

    def errors(self, schema: dict[str, Any], value: Any) -> list[str]:
        """What is wrong with *value*."""
        whole = strict({**schema, **self.components})
        found = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).iter_errors(value)
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "tokens").write_text(f"alice:{TOKEN}")
    server = RlsProcess(folder, "--admin-token-file", str(folder / "tokens"), rules=RULES)
    http = int(server.addresses["http"].rpartition(":")[2])
    checks = [
        ("company_id", "acme", 8),
        ("company_id", "umbrella", 5),
        ("remote_address", "203.0.113.7", 5),
        ("x", "y", 1),
    ]
    for key, value, times in checks:
        asked = {"domain": "mesh", "descriptors": [{"entries": [{"key": key, "value": value}]}]}
        for _ in range(times):
            ask(http, "/json", method="POST", body=json.dumps(asked).encode())
    yield Api(server)
    server.kill()


def test_the_document_is_one(api) -> None:
    assert api.document["openapi"] == "3.1.0"
    for schema in api.document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(api.document)))
    assert referred == set(api.document["components"]["schemas"])
    ids = [operation["operationId"] for _, _, operation in api.operations()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z_]+", one) for one in ids)


def test_it_has_each_route_and_no_other(api) -> None:
    listed = api.ask(PREFIX).json()
    described = {path for path, _, _ in api.operations()}
    assert described == {PREFIX, *listed}
    for path, item in api.document["paths"].items():
        target = path.replace("{domain}", "mesh").replace("{rule}", "company_id").replace("{id}", "none")
        refused = api.ask(target, "PATCH")
        assert refused.status == 405
        allowed = set(refused.json()["expected"].split(", "))
        assert allowed <= {method.upper() for method in item}


def test_it_has_each_parameter_and_no_other(api) -> None:
    """A parameter that is not known is an error that lists the known ones."""
    for path, method, operation in api.operations():
        if method != "GET":
            continue
        target = path.replace("{domain}", "mesh").replace("{rule}", "company_id")
        expected = api.ask(f"{target}?none=1").json()["expected"]
        known = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
        assert set(expected.removeprefix("some of: ").split(", ")) == (known or {"no parameters"}), path
        for one in operation["parameters"]:
            if "enum" in one["schema"]:
                expected = api.ask(f"{target}?{one['name']}=none").json()["expected"]
                assert set(re.findall(r"[\w=]+", expected)) >= set(one["schema"]["enum"]) or one["name"] == "pods"


def test_what_is_answered_is_as_described(api) -> None:
    """So are the examples of docs/admin-api.md, and the bodies that they post."""
    name, answered = "1f6a09c2", set()
    examples = [(one.path, one.method, one.body, one.shown) for one in EXAMPLES]
    examples += [(f"{PREFIX}{path}", "GET", "", "") for path in ("", "/openapi.json", "/counters?domain=mesh")]
    one = {"entries": [{"key": "company_id", "value": "acme"}]}
    examples.append((f"{PREFIX}/explain", "POST", json.dumps({"domain": "mesh", "descriptors": [one]}), ""))
    for path, method, body, shown in examples:
        answer = api.ask(path.replace("1f6a09c2", name), method, body.encode() or None)
        template = next(
            (one, operation)
            for one, verb, operation in api.operations()
            if verb == method and re.fullmatch(re.sub(r"\{\w+\}", ".+", one), path.partition("?")[0])
        )
        answered.add((template[0], method))
        schema = template[1]["responses"][str(answer.status)]["content"]["application/json"]["schema"]
        assert api.errors(schema, answer.json()) == [], path
        if shown:
            assert api.errors(schema, json.loads(shown)) == [], f"{path} on the page"
        if body:
            asked = template[1]["requestBody"]["content"]["application/json"]["schema"]
            assert api.errors(asked, json.loads(body)) == []
        if "replaced" in answer.json():
            name = answer.json()["override"]["id"]
    assert answered == {(path, method) for path, method, _ in api.operations()}


def test_what_changes_something_says_that_it_needs_a_token(api) -> None:
    for path, method, operation in api.operations():
        needs_token = operation["security"] == [{"token": []}]
        assert needs_token is (method != "GET" and path != f"{PREFIX}/explain")
        target = path.replace("{domain}", "mesh").replace("{rule}", "company_id").replace("{id}", "none")
        body = None if method == "GET" else b"{}"
        without = ask(int(api.server.addresses["admin"].rpartition(":")[2]), target, method=method, body=body)
        assert (without.status == 401) is needs_token, f"{method} {path}"


def test_a_newer_version_may_send_and_answer_more(api) -> None:
    """Members that are not known are no error, on both sides."""
    later = {"later": {"nested": [1]}}
    asked = {"domain": "mesh", "entries": [{"key": "company_id", "value": "acme", **later}], **later}
    assert api.ask(f"{PREFIX}/counters/reset", "POST", json.dumps(asked).encode()).status == 200
    for schema in api.document["components"]["schemas"].values():
        assert schema.get("additionalProperties", True) is not False
