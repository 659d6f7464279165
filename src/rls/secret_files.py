"""Secrets in files, as Kubernetes mounts them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_LONGEST = 4096


def read_secret(path: Path) -> bytes:
    """What is in the file, without the white space around it; at most 4 KiB.

    Raises:
        OSError: It cannot be read, or is not a regular file, where a read could wait without end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        return os.read(descriptor, _LONGEST).strip()
    finally:
        os.close(descriptor)
