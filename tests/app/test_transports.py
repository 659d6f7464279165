"""What listeners report, in the enforcement state: it ends when its cause has ended."""

from __future__ import annotations

import errno

import pytest

from rls.app.transports import Sockets
from rls.engine.enforcement import EnforcementState, Reason
from rls.observe.metrics import Metrics
from tests.clock import Clock

FULL = OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    ("reason", "report"),
    [
        (Reason.CONNECTIONS_REFUSED, lambda sockets: sockets.grpc.on_refused("5 connections are open")),
        (Reason.FILE_DESCRIPTORS_EXHAUSTED, lambda sockets: sockets.grpc.no_files("a:1", FULL)),
        (Reason.FILE_DESCRIPTORS_EXHAUSTED, lambda sockets: sockets.http.no_files("a:2", FULL)),
        (Reason.FILE_DESCRIPTORS_EXHAUSTED, lambda sockets: sockets.admin.no_files("a:3", FULL)),
    ],
    ids=["refused", "grpc", "http", "admin"],
)
def test_what_happened_holds_for_a_minute_after_the_last_time(reason, report) -> None:
    clock = Clock()
    enforcement = EnforcementState(clock)
    changes: list[bool] = []
    enforcement.listen(lambda _, holds: changes.append(holds))
    sockets = Sockets(Metrics(), enforcement)
    for _ in range(1_000):  # a flood of them is one change, and so one line of the log
        report(sockets)
    clock.now += 59
    report(sockets)
    clock.now += 59
    enforcement.expire()
    assert enforcement.find(reason) is not None
    clock.now += 1
    enforcement.expire()
    assert enforcement.find(reason) is None
    assert changes == [True, False]


def test_what_is_said_of_a_certificate_holds_until_it_is_over() -> None:
    clock = Clock()
    enforcement = EnforcementState(clock)
    certificate = Sockets(Metrics(), enforcement).certificate
    certificate.on_not_loaded("the key is missing")
    certificate.on_expired("it expired")
    clock.now += 1_000_000
    enforcement.expire()
    held = [weakness.reason for weakness in enforcement.weaknesses]
    assert held == [Reason.CERTIFICATE_NOT_LOADED, Reason.CERTIFICATE_EXPIRED]
    certificate.on_not_loaded("")
    certificate.on_expired("")
    assert not enforcement.weaknesses


def test_listeners_show_what_they_know() -> None:
    """One that is not served, and one of grpcio, knows nothing, and must not show 0."""
    metrics = Metrics()
    sockets = Sockets(metrics, EnforcementState())
    sockets.http.begin(lambda: 3, 64, ())
    lines = b"".join(metrics.page()[1]).decode().splitlines()
    assert [line for line in lines if line.startswith(("rls_connections", "rls_cert"))] == [
        'rls_connections{listener="http"} 3.0',
        'rls_connections_limit{listener="http"} 64.0',
    ]
