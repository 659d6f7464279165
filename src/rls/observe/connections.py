"""Connections and certificates as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from rls.observe.families import Number
from rls.observe.metrics import Metrics


class Connections(Protocol):
    """The connections of one listener.

    Attributes:
        accept_errors: Times that accept failed for lack of file descriptors.
        limit: Maximum of open connections; 0 if unknown.
        count: Returns the open connections; None if unknown.
    """

    accept_errors: int
    limit: int
    count: Callable[[], int] | None

    def closed_by_reason(self) -> Iterable[tuple[str, int]]:
        """Connections that the server closed, by reason."""


class Certificate(Protocol):
    """The server's certificate; see `register_certificate_metrics`."""

    expires_at: float | None


def register_connection_metrics(metrics: Metrics, listeners: Mapping[str, Connections]) -> None:
    """Add the numbers of *listeners*, by their names, to *metrics*, except those that a listener does not know."""

    def opened() -> Mapping[str, Number]:
        return {name: found.count() for name, found in listeners.items() if found.count is not None}

    def closed() -> Mapping[tuple[str, ...], Number]:
        return {
            (name, reason): number for name, found in listeners.items() for reason, number in found.closed_by_reason()
        }

    metrics.register_gauge("rls_connections", "Open connections.", opened, "listener")
    metrics.register_gauge(
        "rls_connections_limit",
        "Maximum of open connections.",
        lambda: {name: found.limit for name, found in listeners.items() if found.limit},
        "listener",
    )
    metrics.register_counter(
        "rls_connections_closed_total",
        "Connections that the server closed, by reason.",
        closed,
        "listener",
        "reason",
    )
    metrics.register_counter(
        "rls_accept_errors_total",
        "Failed accepts for lack of file descriptors.",
        lambda: {name: found.accept_errors for name, found in listeners.items()},
        "listener",
    )


def register_certificate_metrics(metrics: Metrics, certificate: Certificate) -> None:
    """Add when *certificate* expires to *metrics*; nothing without TLS."""

    def expiry() -> Mapping[tuple[str, ...], Number]:
        return {} if certificate.expires_at is None else {(): certificate.expires_at}

    metrics.register_gauge(
        "rls_certificate_expiry_timestamp_seconds",
        "When the current gRPC certificate expires, in Unix seconds.",
        expiry,
    )
