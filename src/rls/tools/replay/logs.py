"""Log files → lines: plain or gzip, of any size, from standard input too."""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from rls.file_kinds import binary_kind
from rls.sources.disk import demand_no_device

_CHUNK_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
LONGEST_LINE = 1 << 20
"""Bytes of a line; what is longer is cut there, and cannot be read."""


class Log:
    """One log.

    Args:
        path: Of the file; `-` is standard input.

    Attributes:
        name: What it is called in messages.
        size: Bytes on disk; 0 where that is not known.
        read: Bytes of these that were read so far.
        broken: Why it ended before its end; "" where it did not.
        binary: What it is where that is no text; "" before it was read.

    Raises:
        OSError: It cannot be opened, or is a device.
    """

    def __init__(self, path: str) -> None:
        self.name = "<stdin>" if path == "-" else path
        self.size = self.read = 0
        self.broken = self.binary = ""
        if path == "-":
            self._raw: BinaryIO = sys.stdin.buffer
        else:
            demand_no_device(path)
            self._raw = Path(path).open("rb")  # noqa: SIM115 - `blocks` closes it
            status = os.fstat(self._raw.fileno())
            self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0

    def blocks(self) -> Iterator[list[bytes]]:
        """All lines, without their ends, some at a time."""
        return blocks(self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        with self._raw as raw:
            buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", raw))
            zipped = buffered.peek(2)[:2] == _GZIP
            source = cast("BinaryIO", gzip.GzipFile(fileobj=buffered)) if zipped else buffered
            try:
                # read1: what a pipe holds now is not kept back until there is more.
                while chunk := source.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]
                    if not self.read:
                        self.binary = binary_kind(chunk)
                    if self.size:
                        self.read = raw.tell()
                    yield chunk
            except (EOFError, OSError, zlib.error) as error:
                self.broken = str(error)


def blocks(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines of a text that comes in *chunks*, without their ends, some at a time."""
    rest: list[bytes] = []
    length = 0
    for chunk in chunks:
        first, *lines = chunk.split(b"\n")
        if length <= LONGEST_LINE:
            rest.append(first)
            length += len(first)
        if lines:
            last = lines.pop()
            yield [b"".join(rest), *lines]
            rest, length = [last], len(last)
    if length:
        yield [b"".join(rest)]
