"""What we use of other packages beyond their documented API, whether it is still so, and whether our bounds keep it so.

Where a test fails after an update: read what changed, adapt the code that uses it, and then the bound in pyproject.toml.
"""

import ast
import inspect
import ssl
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]
from hpack import Decoder, OversizedHeaderListError
from hpack.hpack import encode_integer
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from packaging.requirements import Requirement
from packaging.version import Version
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import SSLConnection
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

ROOT = Path(__file__).parents[1]
PRIVATE = {
    "rls.transport.grpcio.aio_server": {
        "grpc._cython",
        *("_RequestCallError", "_handle_rpc", "_schedule_rpc_coro"),
        *("_make_request_call_future", "_request_call", "_request_registered_call"),
    },
}
"""Private names of other packages, by the module that uses them."""
UNDOCUMENTED = {"grpcio": "minor", "hpack": "minor", "redis": "major", "uvicorn": "minor"}
"""Packages of which we use names that are private or undocumented, and the part of the version that may change them."""
# They begin with an underscore, and are documented.
_PUBLIC = {"_asdict", "_exit", "_fields", "_replace"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in _PUBLIC


def modules() -> dict[str, ast.Module]:
    """Our modules by name, but the generated ones."""
    found = {}
    for path in sorted((ROOT / "src/rls").rglob("*.py")):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        if "proto" not in parts:
            found[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


def defined(tree: ast.Module) -> Iterator[str]:
    """Names that the module gives to anything, attributes included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def imported(tree: ast.Module) -> Iterator[str]:
    """Private modules and names of other packages that the module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] != "rls":
            if any(map(is_private, node.module.split("."))):
                yield node.module
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if any(map(is_private, alias.name.split("."))))


def inherited(name: str, tree: ast.Module) -> Iterator[str]:
    """Private names that classes of the module use of, or override in, a class of another package."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bases = getattr(import_module(name), node.name).__mro__
            foreign = [base for base in bases if base.__module__.split(".")[0] not in {"rls", *sys.stdlib_module_names}]
            names = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
            names |= {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
            yield from (one for one in names if is_private(one) and any(one in vars(base) for base in foreign))


def used(tree: ast.Module, ours: set[str]) -> set[str]:
    """Private names that the module imports, or reads as attributes although nothing of *ours* has that name."""
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr)}
    return (attributes - ours) | set(imported(tree))


def test_private_names_of_other_packages_are_listed_here() -> None:
    trees = modules()
    ours = {name for tree in trees.values() for name in defined(tree)}
    found = {name: used(tree, ours) | set(inherited(name, tree)) for name, tree in trees.items()}
    assert {name: names for name, names in found.items() if names} == PRIVATE


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import grpc._x\n", {"grpc._x"}),
        ("from grpc import _x\n", {"_x"}),
        ("from rls import _x\n", set()),
        ("def f(one):\n    return one._writer, one._replace(), one.__class__\n", {"_writer"}),
        ("class C:\n    def __init__(self):\n        self._x = 1\n        self._x\n", set()),
    ],
)
def test_how_private_names_are_found(source: str, names: set[str]) -> None:
    tree = ast.parse(source)
    assert used(tree, set(defined(tree))) == names


def test_a_private_method_that_is_inherited_is_found() -> None:
    name = "rls.transport.grpcio.aio_server"
    assert set(inherited(name, modules()[name])) == {
        *("_make_request_call_future", "_request_call", "_request_registered_call")
    }


@pytest.mark.parametrize("package", sorted(UNDOCUMENTED))
def test_the_bound_of_a_package_excludes_what_may_change_it(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [Requirement(text) for text in project["dependencies"]]
    bound = next(one.specifier for one in requirements if one.name == package)
    here = Version(version(package))
    following = {"major": f"{here.major + 1}", "minor": f"{here.major}.{here.minor + 1}"}[UNDOCUMENTED[package]]
    assert bound.contains(here)
    assert not bound.contains(following), f"{package} {following} may change what we use of it"


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def assert_has(owner: object, names: Sequence[str]) -> None:
    assert not [name for name in names if not hasattr(owner, name)]


def assert_sets(cls: type, names: Sequence[str]) -> None:
    """Its constructor sets the attributes *names*."""
    assert not set(names) - set(cls.__init__.__code__.co_names)  # type: ignore[misc]


def test_what_we_use_of_grpcio() -> None:
    assert parameters(cygrpc._handle_rpc) == [
        *("method_name", "method_resolver", "interceptors", "rpc_state", "loop", "concurrency_exceeded")
    ]
    assert parameters(cygrpc._schedule_rpc_coro) == ["rpc_coro", "rpc_state", "loop", "method_name"]
    assert parameters(cygrpc.get_working_loop) == []
    assert issubclass(cygrpc._RequestCallError, Exception)
    assert_has(
        cygrpc.AioServer,
        [
            *("_make_request_call_future", "_request_call", "_request_registered_call", "_server_main_loop"),
            *("add_registered_method_handlers", "add_insecure_port", "add_secure_port", "is_running", "shutdown"),
            *("start", "wait_for_termination"),
        ],
    )
    assert parameters(cygrpc.AioServer._request_registered_call) == ["self", "method"]


def test_what_we_use_of_hpack() -> None:
    assert len(REQUEST_CODES) == len(REQUEST_CODES_LENGTH) == 257
    assert decode_huffman(bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff")) == b"www.example.com"  # RFC 7541, C.4.1
    assert bytes(encode_integer(1337, 5)) == bytes([31, 154, 10])  # RFC 7541, C.1.2
    decoder = Decoder(max_header_list_size=100)
    assert not decoder.header_table.dynamic_entries
    assert decoder.decode(b"\x40\x01a\x01b", raw=True) == [(b"a", b"b")]
    assert len(decoder.header_table.dynamic_entries) == 1
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    assert not decoder.header_table.dynamic_entries
    with pytest.raises(OversizedHeaderListError):
        decoder.decode(b"\x00\x01a\x64" + b"b" * 100, raw=True)


def test_what_we_use_of_redis() -> None:
    """Its connections are never opened: they hold the parsed URL."""

    def parsed(url: str) -> Any:
        pool = ConnectionPool.from_url(url, protocol=2, maint_notifications_config=None)
        return pool.connection_class(**pool.connection_kwargs)

    tcp = parsed("redis://user:p%40ss@[::1]:7/3?socket_keepalive=true")
    assert (tcp.host, tcp.port, tcp.username, tcp.password, tcp.db) == ("::1", 7, "user", "p@ss", 3)
    assert tcp.socket_keepalive is True
    assert all(isinstance(option, int) for option in tcp.socket_keepalive_options)
    assert parsed("unix:///run/redis.sock").path == "/run/redis.sock"
    tls = parsed("rediss://cache?ssl_check_hostname=false")
    assert isinstance(tls, SSLConnection)
    context: Any = tls.ssl_context.get()
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname is False


def test_what_we_use_of_uvicorn() -> None:
    assert parameters(H11Protocol)[:4] == ["config", "server_state", "app_state", "_loop"]
    assert_has(
        H11Protocol,
        [
            *("connection_made", "connection_lost", "data_received", "on_response_complete", "send_400_response"),
            "timeout_keep_alive_handler",
        ],
    )
    assert_sets(H11Protocol, ["conn", "cycle", "flow", "loop", "transport"])
    assert_sets(
        RequestResponseCycle,
        ["disconnected", "keep_alive", "message_event", "response_complete", "response_started"],
    )
    assert parameters(FlowControl) == ["transport"]
    assert_has(FlowControl, ["pause_reading", "resume_reading"])
    assert_sets(FlowControl, ["write_paused"])
    assert ServerState().tasks == set()
