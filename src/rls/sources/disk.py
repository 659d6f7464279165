"""The file system, as rules are read from it. Whatever it raises is an OSError with a text for people."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

MAX_FILE_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


class Disk:
    """Reads directories and regular files. Each method may block for as long as the file system does."""

    def stat(self, path: str) -> os.stat_result:
        """What *path* is, through links."""
        return os.stat(path)  # noqa: PTH116

    def lstat(self, path: str) -> os.stat_result:
        """What *path* itself is, even if it is a link."""
        return os.lstat(path)

    def names(self, path: str) -> list[str]:
        """The names in a directory, in any order."""
        return os.listdir(path)  # noqa: PTH208

    def read(self, path: str) -> bytes:
        """The contents of a regular file of at most `MAX_FILE_BYTES`."""
        chunks, size = [], 0
        for chunk in self.chunks(path):
            size += len(chunk)
            if size > MAX_FILE_BYTES:
                raise too_large()
            chunks.append(chunk)
        return b"".join(chunks)

    def chunks(self, path: str) -> Iterator[bytes]:
        """The contents of a regular file, piece by piece.

        Anything else is not opened: a FIFO blocks until somebody writes, and to open a device may have an effect.
        """
        _demand_regular(os.stat(path))  # noqa: PTH116
        # Between the two it may have become a FIFO, which without O_NONBLOCK would block here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            _demand_regular(os.fstat(descriptor))
            while chunk := os.read(descriptor, _CHUNK_BYTES):
                yield chunk
        finally:
            os.close(descriptor)


def too_large() -> OSError:
    """What is raised for a file of more than `MAX_FILE_BYTES`."""
    return OSError(errno.EFBIG, f"it is larger than {MAX_FILE_BYTES // 1024**2} MiB")


def kind_of(status: os.stat_result) -> str:
    """What something that is not a regular file is."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "something else")


def demand_no_device(path: str | os.PathLike[str]) -> None:
    """Raise an OSError if *path* is a device, whose contents may have no end. A pipe is none."""
    status = os.stat(path)  # noqa: PTH116
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise OSError(errno.EINVAL, f"it is {kind_of(status)}, not a file or a pipe", str(path))


def _demand_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is {kind_of(status)}, not a regular file")
