"""Digests in place of values of requests, so that nobody who reads counters, metrics or logs learns the values.

The digest of `company_id=acme` is the first 24 hex digits of HMAC-SHA-256(secret, `company_id=acme`). Whoever has the secret
can compute it with any tool. Nobody else can find the value by trying all of them, as with a plain hash of an IP. The key of
the entry is part of the message: the same value under another key has another digest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from hashlib import sha256
from typing import TypeAlias

from rls.core.model import to_bytes

DIGEST_TAG = "hmac:"
"""What a digest begins with, so that people can tell it from a value."""
DIGEST_DIGITS = 24
"""Hex digits of a digest: 96 bits. Among a billion values, two have the same digest with a chance of one in 10^11."""
SHORTEST_SECRET = 16
"""Bytes: a shorter secret can be found by trying all of them."""

Hide: TypeAlias = Callable[[str, str], str]
"""Takes the key and the value of an entry; returns what to show and store for the value."""


def plain(key: str, value: str) -> str:  # noqa: ARG001 - it has the shape of `Hide`
    """*value* itself: what is shown and stored where nothing is hidden."""
    return value


_BLOCK = 64


class Pseudonyms:
    """Hides values of requests.

    Args:
        secret: At least 16 bytes. Every process that shares counters needs the same one; another one gives other digests.
        keys: Keys of entries whose values are hidden; None for all.

    Raises:
        ValueError: *secret* is too short.
    """

    __slots__ = ("_inner", "_keys", "_outer")

    def __init__(self, secret: bytes, keys: Collection[str] | None = None) -> None:
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(f"a secret of {len(secret)} bytes, expected at least {SHORTEST_SECRET}")
        # RFC 2104, with the part that does not depend on the message done once: half the time of `hmac.digest`.
        block = (sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))
        self._keys = None if keys is None else frozenset(keys)

    def hide(self, key: str, value: str) -> str:
        """The digest of *value*; *value* itself where it is empty, or where values of *key* are not hidden."""
        if not value or (self._keys is not None and key not in self._keys):
            return value
        return DIGEST_TAG + self._hmac(to_bytes(f"{key}={value}"))[:DIGEST_DIGITS]

    @property
    def secret_id(self) -> str:
        """Names the secret without giving it away: 8 hex digits, equal in all processes that have the same one."""
        return self._hmac(b"the id of this secret")[:8]

    def _hmac(self, message: bytes) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()
