"""Connections and certificates as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from rls.observe.metrics import Metrics, Number


class Connections(Protocol):
    """The connections of one listener.

    Attributes:
        accept_errors: Times that accept failed for lack of file descriptors.
        limit: Connections that may be open; 0 where the listener does not know it.
        count: Says how many are open; None where the listener does not know it.
    """

    accept_errors: int
    limit: int
    count: Callable[[], int] | None

    def closed_by_reason(self) -> Iterable[tuple[str, int]]:
        """How many the server closed."""


class Certificate(Protocol):
    """The server's certificate; see `show_certificate`."""

    expires_at: float | None


def show_connections(metrics: Metrics, listeners: Mapping[str, Connections]) -> None:
    """Add the numbers of *listeners*, by their names, to *metrics*. What a listener does not know it does not show."""

    def opened() -> Mapping[str, Number]:
        return {name: found.count() for name, found in listeners.items() if found.count is not None}

    def closed() -> Mapping[tuple[str, ...], Number]:
        return {
            (name, reason): number for name, found in listeners.items() for reason, number in found.closed_by_reason()
        }

    metrics.register_gauge("rls_connections", "Connections that are open.", opened, "listener")
    metrics.register_gauge(
        "rls_connections_limit",
        "Connections that may be open.",
        lambda: {name: found.limit for name, found in listeners.items() if found.limit},
        "listener",
    )
    metrics.register_counter(
        "rls_connections_closed_total",
        "Connections that the server closed although their clients kept them open.",
        closed,
        "listener",
        "reason",
    )
    metrics.register_counter(
        "rls_accept_errors_total",
        "Times that no connection could be accepted for lack of file descriptors.",
        lambda: {name: found.accept_errors for name, found in listeners.items()},
        "listener",
    )


def show_certificate(metrics: Metrics, certificate: Certificate) -> None:
    """Add when *certificate* expires to *metrics*; nothing without TLS."""

    def expiry() -> Mapping[tuple[str, ...], Number]:
        return {} if certificate.expires_at is None else {(): certificate.expires_at}

    metrics.register_gauge(
        "rls_certificate_expiry_timestamp_seconds",
        "When the certificate of gRPC in force expires, in Unix seconds.",
        expiry,
    )
