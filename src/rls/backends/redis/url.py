"""Addresses of Redis."""

from __future__ import annotations

from urllib.parse import urlsplit


def redacted(url: str) -> str:
    """*url* without user, password and query, fit for messages."""
    parts = urlsplit(url)
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        # Perhaps a password that ought to be escaped: then what looks like host and path are parts of it.
        return f"{parts.scheme}://***"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
