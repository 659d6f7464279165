"""Certificates: whose a client's is, and whether ours have changed on disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from rls.transport.base import Tls

Fingerprint: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""What is known of files without reading them; None for one that is missing."""


class SanAllowlist:
    """Says whether a client's certificate holds one of *allowed*: DNS names in any case, or URIs."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(name if "://" in name else name.lower() for name in allowed)

    def allow(self, names: Iterable[str]) -> bool:
        """Whether one of *names*, those of a verified certificate, is among them."""
        return not self._allowed.isdisjoint(name if "://" in name else name.lower() for name in names)


def fingerprint(tls: Tls) -> Fingerprint:
    """Changes whenever one of the files does; a symlink's target counts, as Kubernetes swaps them."""
    return tuple(_state(path) for path in (tls.cert, tls.key, tls.client_ca) if path is not None)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size
