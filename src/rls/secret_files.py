"""Secrets in files, as Kubernetes mounts them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_LONGEST = 4096


def read_secret(path: Path, longest: int = _LONGEST) -> bytes:
    """What is in the file, without the white space around it; at most *longest* bytes.

    Raises:
        OSError: It cannot be read, has more bytes, or is not a regular file, where a read could wait without end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        found = os.read(descriptor, longest + 1)
        if len(found) > longest:  # a part of a secret is another secret
            raise OSError(f"{path} has more than {longest} bytes")
        return found.strip()
    finally:
        os.close(descriptor)
