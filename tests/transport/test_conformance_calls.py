"""What handlers learn of a call beside its message, on all transports."""

import time
from pathlib import Path

import pytest

from rls.api.direct import rate_limit_handlers
from rls.api.service import SHOULD_RATE_LIMIT, Service
from rls.engine.events import Observer, RequestContext
from rls.engine.limiter import Limiter
from rls.proto import rls_pb2
from rls.stores.memory import MemoryStore
from rls.transport.base import Tls
from rls.transport.handler import Bidirectional, Call, ServerStreaming, StreamingCall, Unary
from tests.certs import put
from tests.transport.conftest import until
from tests.transport.raw import RawClient, message
from tests.transport.test_conformance_streaming import channel_to
from tests.transport.test_tls import CA, HOST, calling
from tests.tries import Step, rule, rule_set

ASK, WATCH, CHAT = "/t.S/Ask", "/t.S/Watch", "/t.S/Chat"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Seen:
    """Handlers of each kind, which keep their calls, and what those say while they last."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.pairs: list[list[tuple[str, str | bytes]]] = []
        self.peers: list[tuple[str, frozenset[str]]] = []
        self.traceparents: list[str | None] = []

    def _keep(self, call: Call) -> None:
        self.calls.append(call)
        self.pairs.append(sorted(pair for pair in call.metadata if pair[0] != "user-agent"))
        self.peers.append((call.peer.address, call.peer.names))
        self.traceparents.append(call.traceparent)

    async def ask(self, call: Call) -> bytes:
        self._keep(call)
        return b""

    async def stream(self, call: StreamingCall) -> None:
        self._keep(call)
        while await call.receive() is not None:
            pass

    async def watch(self, call: StreamingCall) -> None:
        self._keep(call)

    @property
    def handlers(self):
        return {ASK: Unary(self.ask), WATCH: ServerStreaming(self.watch), CHAT: Bidirectional(self.stream)}


@pytest.fixture
def seen() -> Seen:
    return Seen()


PATHS = pytest.mark.parametrize("path", [ASK, WATCH, CHAT])


@PATHS
async def test_metadata_is_what_the_caller_sent(serve, seen, path):
    served = await serve(seen.handlers)
    sent = (("x-user", "bob"), ("x-user", "eve"), ("x-data-bin", bytes(range(256))), ("x-empty", ""))
    async with channel_to(served.address) as channel:
        for _ in range(3):  # the native transport remembers header blocks
            await channel.unary_unary(path)(b"", timeout=30, metadata=sent) if path == ASK else [
                one async for one in channel.unary_stream(path)(b"", timeout=30, metadata=sent)
            ]
    assert seen.pairs == [sorted(sent)] * 3
    metadata = seen.calls[-1].metadata
    assert (metadata.get("x-user"), metadata.get("x-other"), metadata.get("x-data-bin")) == ("bob", None, None)
    assert (metadata.get_bytes("x-data-bin"), metadata.get_bytes("x-user")) == (bytes(range(256)), None)


@PATHS
async def test_fields_of_the_protocol_are_no_metadata(serve, seen, path):
    served = await serve(seen.handlers)
    async with RawClient.connect(served.address) as client:
        others = {"grpc_encoding": "gzip", "grpc_accept_encoding": "gzip", "grpc_timeout": "30S", "x_user": "bob"}
        assert (await client.ask(path, message(b""), **others)).grpc_status == 0
    assert seen.pairs == [[("x-user", "bob")]]


@PATHS
async def test_path_message_and_deadline(serve, seen, path):
    served = await serve(seen.handlers)
    before = time.monotonic()
    async with RawClient.connect(served.address) as client:
        await client.ask(path, message(b"hello"), grpc_timeout="1M")
        await client.ask(path, message(b"hello"))
    after = time.monotonic()
    first, second = seen.calls
    assert first.path == path
    assert first.message == (b"" if path == CHAT else b"hello")
    # grpc's core tells how much is left in whole milliseconds of its own clock.
    assert first.deadline is not None
    assert before + 59.9 < first.deadline < after + 60.1
    assert second.deadline is None


@PATHS
async def test_trace_context_is_the_callers(serve, seen, path):
    """It differs with every call, as Envoy sends it."""
    served = await serve(seen.handlers)
    sent = [TRACEPARENT[:-2] + f"{i:02x}" for i in range(8)]
    async with RawClient.connect(served.address) as client:
        for one in sent:
            await client.ask(path, message(b""), traceparent=one, x_request_id="a" * 36)
        await client.ask(path, message(b""))
    assert seen.traceparents == [*sent, None]


@PATHS
async def test_peer_is_the_callers_address(serve, seen, path, tmp_path):
    served = await serve(seen.handlers)
    async with RawClient.connect(served.address) as client:
        host, port = client.writer.get_extra_info("sockname")
        await client.ask(path, message(b""))
    assert seen.peers == [(f"{host}:{port}", frozenset())]


async def test_peer_on_a_unix_socket(serve, seen, tmp_path):
    served = await serve(seen.handlers, address=f"unix:{tmp_path}/rls.sock")
    async with channel_to(served.address) as channel:
        await channel.unary_unary(ASK)(b"", timeout=30)
    assert seen.peers == [("unix", frozenset())]


@pytest.mark.parametrize("with_ca", [True, False], ids=["mTLS", "TLS"])
async def test_peer_has_the_names_of_its_certificate(serve, seen, tmp_path: Path, with_ca):
    put(tmp_path, *CA.issue(HOST))
    client_ca = tmp_path / "ca.crt"
    client_ca.write_bytes(CA.pem)
    tls = Tls(tmp_path / "tls.crt", tmp_path / "tls.key", client_ca if with_ca else None)
    served = await serve(seen.handlers, tls=tls)
    async with calling(served.address, CA.issue("client.example")) as call:
        await call(ASK)
    ((address, names),) = seen.peers
    assert address.startswith("127.0.0.1:")
    assert names == (frozenset({"client.example"}) if with_ca else frozenset())


@pytest.mark.parametrize("kind", ["native"], indirect=True)
async def test_value_that_is_not_base64_is_left_out(serve, seen):
    """grpc ends such a call."""
    served = await serve(seen.handlers)
    async with RawClient.connect(served.address) as client:
        await client.ask(ASK, message(b""), x_bin="!!!", y_bin="AAE,AQ==", z_bin="AAE")
    await until(lambda: seen.pairs)
    assert seen.pairs == [[("y-bin", b"\0\1"), ("y-bin", b"\1"), ("z-bin", b"\0\1")]]


class Requests(Observer):
    """Keeps what observers know of requests."""

    def __init__(self) -> None:
        self.traceparents: list[str | None] = []

    def decided(self, request: RequestContext) -> None:
        self.traceparents.append(request.traceparent)


@pytest.mark.parametrize("descriptors", [1, 200], ids=["few", "many"])
async def test_trace_context_of_a_check_reaches_observers(serve, descriptors):
    observer = Requests()
    limiter = Limiter(MemoryStore(), observers=[observer])
    limiter.load(rule_set({(Step("company"),): rule("company", 1_000)}))
    served = await serve(rate_limit_handlers(Service(limiter)))
    request = rls_pb2.RateLimitRequest(domain="domain")
    for _ in range(descriptors):
        request.descriptors.add().entries.add(key="company", value="acme")
    async with RawClient.connect(served.address) as client:
        sent = [TRACEPARENT[:-2] + f"{i:02x}" for i in range(5)]
        for one in sent:
            headers = {"traceparent": one, "grpc_timeout": "30S"}
            assert (await client.ask(SHOULD_RATE_LIMIT, message(request.SerializeToString()), **headers)).messages
    assert observer.traceparents == sent
