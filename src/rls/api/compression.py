"""gzip for large answers, a small piece at a time: other tasks run in between."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

LEVEL = 1
"""The fastest: a page of metrics becomes a tenth, and higher levels take several times as long for little more."""
_GZIP = 31  # zlib.compressobj: 16 for a gzip header, and the largest window


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client with this `Accept-Encoding` header takes gzip (RFC 9110, section 12.5.3)."""
    for one in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in one.split(";"))
        if coding in ("gzip", "x-gzip"):
            return not any(_is_zero(parameter) for parameter in parameters)
    return False


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and not value.strip().strip("0.")


async def gzipped(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """*chunks*, compressed. A chunk of 16 KiB takes a few tenths of a millisecond."""
    compressor = zlib.compressobj(LEVEL, wbits=_GZIP)
    async for chunk in chunks:
        if compressed := compressor.compress(chunk):
            yield compressed
    yield compressor.flush()
