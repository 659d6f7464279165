"""The requests to all servers, and the rules of all servers."""

from __future__ import annotations

DOMAIN = "mesh"
KEYS = ("company_id", "remote_address", "path", "method", "plan", "tenant", "region", "host", "agent", "zone")
# Never reached: what is measured is counting, not the memory of what is over its limit.
LIMIT = 4_000_000_000

RULES = f"domain: {DOMAIN}\ndescriptors:\n" + "".join(
    f"  - key: {key}\n    rate_limit: {{unit: hour, requests_per_unit: {LIMIT}}}\n" for key in KEYS
)
LIMITADOR_LIMITS = (
    f"- {{namespace: {DOMAIN}, max_value: {LIMIT}, seconds: 3600, conditions: [],"
    " variables: [\"descriptors[0]['company_id']\"]}\n"
)


def message(descriptors: int, value: str = "acme") -> bytes:
    """A RateLimitRequest (rls.proto) of one-entry descriptors, no two of them equal.

    By hand, because the load must not depend on the code that it measures.
    """
    names = (
        (KEYS[i % len(KEYS)], f"{value}-{i // len(KEYS)}" if i >= len(KEYS) else value) for i in range(descriptors)
    )
    entries = (_field(1, key.encode()) + _field(2, text.encode()) for key, text in names)
    return _field(1, DOMAIN.encode()) + b"".join(_field(2, _field(1, entry)) for entry in entries)


def messages(descriptors: int, keys: int) -> list[bytes]:
    """Requests of *keys* companies."""
    return [message(descriptors, f"company-{number:05}") for number in range(keys)]


def _field(number: int, payload: bytes) -> bytes:
    assert len(payload) < 128, "the length is one byte of varint"
    return bytes([number << 3 | 2, len(payload)]) + payload
