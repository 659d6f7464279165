"""What `rls explain` says that Envoy sends, by the actions of a filter, is what a real Envoy sends."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from examples.mesh.envoy import Envoy, EnvoyConfig
from examples.mesh.http import ask
from examples.mesh.processes import free_port
from examples.mesh.servers import UserService
from examples.tokens import Issuer
from rls.api.service import SHOULD_RATE_LIMIT
from rls.core.actions import JWT_METADATA, KNOWN_ACTIONS, HttpRequest, outcome
from rls.proto import rls_pb2

CLAIMS = {"company_id": "acme", "number": 4711, "empty": "", "deep": {"er": "x"}, "list": ["a"]}
JWT = {"key": JWT_METADATA}


def claim(*path: str, **more: Any) -> dict[str, Any]:
    """An action that takes a claim."""
    key = {**JWT, "path": [{"key": segment} for segment in ("payload", *path)]}
    return {"metadata": {"descriptor_key": "claim", "metadata_key": key, **more}}


def header_match(expect: bool | None = None, **matcher: Any) -> dict[str, Any]:
    more = {} if expect is None else {"expect_match": expect}
    return {"header_value_match": {"descriptor_value": "yes", "headers": [{"name": "x-a", **matcher}], **more}}


def query_match(**matcher: Any) -> dict[str, Any]:
    return {"query_parameter_value_match": {"descriptor_value": "q", "query_parameters": [{"name": "q", **matcher}]}}


GENERIC = {"generic_key": {"descriptor_value": "g"}}
ACTIONS: Sequence[Sequence[dict[str, Any]]] = (
    [GENERIC],
    [{"generic_key": {"descriptor_value": "g", "descriptor_key": "named"}}],
    [{"remote_address": {}}],
    [{"masked_remote_address": {}}],
    [{"masked_remote_address": {"v4_prefix_mask_len": 8}}],
    [{"source_cluster": {}}, {"destination_cluster": {}}],
    [{"request_headers": {"header_name": "x-a", "descriptor_key": "a"}}],
    [{"request_headers": {"header_name": "X-A", "descriptor_key": "a", "skip_if_absent": True}}, GENERIC],
    [{"request_headers": {"header_name": "x-a", "descriptor_key": "a", "skip_if_absent": True}}],
    [{"request_headers": {"header_name": ":path", "descriptor_key": "p"}}, {"request_headers": {"header_name": ":method", "descriptor_key": "m"}}],
    [{"request_headers": {"header_name": ":authority", "descriptor_key": "h"}}],
    [{"query_parameters": {"query_parameter_name": "q", "descriptor_key": "q"}}],
    [{"query_parameters": {"query_parameter_name": "q", "descriptor_key": "q", "skip_if_absent": True}}, GENERIC],
    [claim("company_id")],
    [claim("number")],
    [claim("empty")],
    [claim("list")],
    [claim("deep", "er")],
    [claim("none")],
    [claim("none", default_value="nobody")],
    [claim("none", skip_if_absent=True), GENERIC],
    [claim("number", default_value="n")],
    [header_match(present_match=True)],
    [header_match(present_match=False)],
    [header_match(present_match=True, invert_match=True)],
    [header_match(expect=False, present_match=True)],
    [header_match(string_match={"exact": "one"})],
    [header_match(string_match={"exact": "ONE", "ignore_case": True})],
    [header_match(string_match={"prefix": "o"}, invert_match=True)],
    [header_match(expect=False, string_match={"suffix": "e"})],
    [header_match(string_match={"contains": "n"})],
    [header_match(string_match={"safe_regex": {"regex": "o.e"}})],
    [header_match(string_match={"safe_regex": {"regex": "n"}})],
    [header_match(string_match={"exact": ""}, treat_missing_header_as_empty=True)],
    [header_match(range_match={"start": 1, "end": 10})],
    [{"header_value_match": {"descriptor_key": "k", "descriptor_value": "two", "headers": [{"name": "x-a", "present_match": True}, {"name": "x-b", "present_match": True}]}}],
    [query_match(string_match={"exact": "1"})],
    [query_match(present_match=True)],
)  # fmt: skip
REQUESTS: Sequence[tuple[str, str, dict[str, str]]] = (
    ("GET", "", {}),
    ("POST", "?q=1&q=2&r=", {"x-a": "one"}),
    ("GET", "?q=", {"x-a": "7", "x-b": "b"}),
    ("GET", "?q=a%20b", {"x-a": ""}),
)


class Recorder:
    """A rate-limit service that keeps what it is asked last, and lets all pass."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, str]]] = []
        self.port = free_port()
        handler: Any = grpc.unary_unary_rpc_method_handler(self._answer)
        service, _, method = SHOULD_RATE_LIMIT.removeprefix("/").partition("/")
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def _answer(self, message: bytes, _: grpc.ServicerContext) -> bytes:
        request = rls_pb2.RateLimitRequest.FromString(message)
        self.asked = [[(entry.key, entry.value) for entry in one.entries] for one in request.descriptors]
        return rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OK).SerializeToString()

    def close(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture(scope="module")
def asked(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, users: UserService
) -> Iterator[tuple[Envoy, Recorder]]:
    """An Envoy with a route for each of `ACTIONS`, and the service that it asks."""
    folder = tmp_path_factory.mktemp("actions")
    recorder = Recorder()
    config = EnvoyConfig(users=users.port, rls=[recorder.port], jwks=issuer.jwks(), access_log=folder / "access.log")
    config.tree["node"] = {"id": "test", "cluster": "source"}
    metadata = {
        "name": "envoy.filters.http.set_metadata",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
            "metadata": [{"metadata_namespace": JWT_METADATA, "value": {"payload": CLAIMS}}],
        },
    }
    manager = config.manager
    limit = copy.deepcopy(config.http_filter("envoy.filters.http.ratelimit"))
    limit["typed_config"].pop("rate_limits", None)
    limit["typed_config"]["timeout"] = "20s"  # no busy machine is late
    manager["http_filters"] = [metadata, limit, config.http_filter("envoy.filters.http.router")]
    routes = [
        {"match": {"path": f"/{number}"}, "route": {"cluster": "users", "rate_limits": [{"actions": actions}]}}
        for number, actions in enumerate(ACTIONS)
    ]
    manager["route_config"] = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}
    try:
        with Envoy(config, folder) as envoy:
            yield envoy, recorder
    finally:
        recorder.close()


def name_of(actions: Sequence[Mapping[str, Any]]) -> str:
    return ",".join(kind for action in actions for kind in action)


@pytest.mark.parametrize(
    "number", range(len(ACTIONS)), ids=[f"{number}-{name_of(actions)}" for number, actions in enumerate(ACTIONS)]
)
def test_envoy_sends_what_is_said(asked: tuple[Envoy, Recorder], number: int) -> None:
    envoy, recorder = asked
    for method, query, headers in REQUESTS:
        recorder.asked = []
        ask(envoy.port, f"/{number}{query}", {"host": "users.local", **headers}, method=method)
        lists = {name: [value] for name, value in {"host": "users.local", **headers}.items()}
        request = HttpRequest(
            method,
            f"/{number}{query}",
            lists,
            CLAIMS,
            "127.0.0.1",
            {"source_cluster": "source", "destination_cluster": "users"},
        )
        found = outcome("", {"actions": ACTIONS[number]}, request)
        said = [] if found.descriptor is None else [list(map(tuple[str, str], found.descriptor.entries))]
        assert found.known, found.why
        assert said == recorder.asked, (method, query, headers, found.why)


def test_each_action_that_is_known_is_tried() -> None:
    assert {kind for actions in ACTIONS for action in actions for kind in action} == KNOWN_ACTIONS
