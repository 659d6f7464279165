"""Files → bytes. Runs in a thread: it waits for the disk, and hashes, which both leave the interpreter to the loop."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from rls.sources.disk import MAX_FILE_BYTES, Disk, too_large
from rls.sources.paths import FileSet, Fingerprint


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        fingerprint: What stat said before it was read.
        digest: SHA-256 of its bytes; None where it cannot be read.
        pieces: Its bytes; None where they are those of the last load.
        error: Why it cannot be read.
    """

    fingerprint: Fingerprint
    digest: bytes | None
    pieces: tuple[bytes, ...] | None = None
    error: OSError | None = None

    @property
    def size(self) -> int:
        """Number of *pieces*' bytes."""
        return sum(map(len, self.pieces or ()))


def read_contents(
    found: FileSet, last: Mapping[str, Content], disk: Disk, *, trust_fingerprints: bool = False
) -> dict[str, Content]:
    """Read those files of *found* whose last good contents are not kept.

    Args:
        found: Files to read.
        last: Contents of the load before.
        disk: Where the files are.
        trust_fingerprints: Do not read files whose fingerprint is that of the load before.
    """
    contents = {}
    for file, fingerprint in found.files.items():
        if file in found.kept:
            continue
        before = last.get(file)
        if trust_fingerprints and before and fingerprint and before.fingerprint == fingerprint and before.digest:
            contents[file] = before
        else:
            contents[file] = _read(file, fingerprint, before.digest if before else None, disk)
    return contents


def _read(file: str, fingerprint: Fingerprint, known: bytes | None, disk: Disk) -> Content:
    digest, pieces, size = hashlib.sha256(), [], 0
    try:
        for piece in disk.chunks(file):
            size += len(piece)
            if size > MAX_FILE_BYTES:
                raise too_large()
            digest.update(piece)
            # Not joined: to copy a large file would hold up the loop.
            pieces.append(piece)
    except OSError as error:
        return Content(fingerprint, None, error=error)
    found = digest.digest()
    return Content(fingerprint, found, None if found == known else tuple(pieces))
