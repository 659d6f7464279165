"""Field lists (RFC 9113, sections 8.1 to 8.5): is this a well-formed request, or are these well-formed trailers?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from rls.transport.http2.errors import ErrorCode, StreamFault

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Names and values in their order."""

FIELD_BYTES = 32
"""What RFC 9113, section 10.5.1 adds for each field of a list."""

# Section 8.2.1: no controls, no space, no upper case, nothing above ASCII, and a colon only in front.
_NAME = re.compile(rb":?[!-9;-@\[-~]+")
# NUL, CR and LF nowhere, white space neither first nor last.
_VALUE = re.compile(rb"(?:[^\0\r\n\t ](?:[^\0\r\n]*[^\0\r\n\t ])?)?")
_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
# Section 8.2.2.
_OF_CONNECTION = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_DIGITS = re.compile(rb"[0-9]{1,18}")


def list_bytes(fields: Fields) -> int:
    """The size of a list as SETTINGS_MAX_HEADER_LIST_SIZE counts it."""
    return sum(len(name) + len(value) + FIELD_BYTES for name, value in fields)


def check_request(fields: Fields) -> dict[bytes, bytes]:
    """The fields of a request by their name; of those that came more than once, the first.

    Raises:
        StreamFault: It is malformed (section 8.1.1).
    """
    found: dict[bytes, bytes] = {}
    regular = False
    for name, value in fields:
        _check_field(name, value)
        if not name.startswith(b":"):
            regular = True
            if name == b"content-length" and found.get(name, value) != value:
                raise _malformed("two lengths of content")
            found.setdefault(name, value)
            continue
        if regular:
            raise _malformed("a pseudo-header field after a field")
        if name not in _PSEUDO:
            raise _malformed("an unknown pseudo-header field")
        if name in found:
            raise _malformed("a pseudo-header field twice")
        found[name] = value
    _check_pseudo(found)
    if b"content-length" in found and not _DIGITS.fullmatch(found[b"content-length"]):
        raise _malformed("content-length is no number")
    return found


def check_trailers(fields: Fields) -> None:
    """Check a list that follows the content.

    Raises:
        StreamFault: It is malformed (section 8.1).
    """
    for name, value in fields:
        _check_field(name, value)
        if name.startswith(b":"):
            raise _malformed("a pseudo-header field in trailers")


def _check_field(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise _malformed("a field name with a character that names do not have")
    if not _VALUE.fullmatch(value):
        raise _malformed("a field value with a character that values do not have")
    if name in _OF_CONNECTION:
        raise _malformed("a field that belongs to HTTP/1.1 connections")
    if name == b"te" and value != b"trailers":
        raise _malformed("te is not trailers")


def _check_pseudo(found: dict[bytes, bytes]) -> None:
    method = found.get(b":method")
    if not method:
        raise _malformed("no :method")
    if method == b"CONNECT":
        # Section 8.5.
        if b":scheme" in found or b":path" in found or not found.get(b":authority"):
            raise _malformed("CONNECT takes :authority and nothing else")
        return
    if not found.get(b":scheme"):
        raise _malformed("no :scheme")
    path = found.get(b":path")
    if not path:
        raise _malformed("no :path")
    # Section 8.3.1, for the schemes http and https.
    if not path.startswith(b"/") and not (path == b"*" and method == b"OPTIONS"):
        raise _malformed(":path does not begin with a slash")
    authority, host = found.get(b":authority"), found.get(b"host")
    if authority is not None and b"@" in authority:
        raise _malformed(":authority with user information")
    if authority is not None and host is not None and authority.lower() != host.lower():
        raise _malformed("host differs from :authority")


def _malformed(text: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, f"malformed: {text}")
