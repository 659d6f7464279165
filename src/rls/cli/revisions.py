"""Rules of a git revision, as if they were files: `git:HEAD~1:config`."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator

from rls.sources.disk import Disk

PREFIX = "git:"


class GitDisk(Disk):
    """The files of one revision, below the current folder.

    Args:
        text: `git:REVISION:PATH`.

    Attributes:
        root: What *text* is called in places: `REVISION:PATH`.

    Raises:
        ValueError: There are none; with the reason.
    """

    def __init__(self, text: str) -> None:
        revision, colon, path = text.removeprefix(PREFIX).partition(":")
        if not revision or not colon or not path or revision.startswith("-"):
            raise ValueError("expected git:REVISION:PATH, such as git:HEAD~1:config")
        path = os.path.normpath(path)  # as text: it is no path of this disk
        self.root = f"{revision}:{path}"
        self._blobs: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        for line in _git("ls-tree", "-r", "-z", revision, "--", path).split(b"\0"):
            kind, _, name = line.decode("utf-8", "surrogateescape").partition("\t")
            if name:
                self._blobs[f"{revision}:{'./' if path == '.' else ''}{name}"] = kind.split()[2]
        if not self._blobs:
            raise ValueError(f"revision {revision} has no {path}")

    def stat(self, path: str) -> os.stat_result:
        """See `Disk`."""
        number = self._numbers.setdefault(path, len(self._numbers) + 1)
        if path in self._blobs:
            return os.stat_result((stat.S_IFREG, number, 1, 1, 0, 0, 0, 0, 0, 0))
        if self.names(path):
            return os.stat_result((stat.S_IFDIR, number, 2, 1, 0, 0, 0, 0, 0, 0))
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    lstat = stat

    def names(self, path: str) -> list[str]:
        """See `Disk`."""
        above = f"{path}/"
        return list({name.removeprefix(above).partition("/")[0] for name in self._blobs if name.startswith(above)})

    def chunks(self, path: str) -> Iterator[bytes]:
        """See `Disk`."""
        yield _git("cat-file", "blob", self._blobs[path])


def _git(*arguments: str) -> bytes:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise ValueError("there is no git here") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(f"git says: {said[-1] if said else done.returncode}")
    return done.stdout
