"""A process that compiles one file, so that the server's loop need not: `python -m rls.sources.compile_process FILE`.

It reads the text of FILE from standard input until its end, and writes `transfer` frames to standard output, each after
its length in four bytes.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
from collections.abc import Iterator

from rls.config.compile import Compiled, compile_file
from rls.engine.digests import digest_children
from rls.slices import finish
from rls.sources.transfer import frames_of

LENGTH_BYTES = 4
_NICE = 5
"""The server goes first where both need one CPU."""


def framed(compiled: Compiled) -> Iterator[bytes]:
    """What is written to standard output."""
    for frame in frames_of(compiled):
        held = marshal.dumps(frame)
        yield len(held).to_bytes(LENGTH_BYTES, "big") + held


def main() -> None:
    os.nice(_NICE)
    gc.disable()  # nothing is dropped before the end
    (file,) = sys.argv[1:]
    compiled = compile_file(file, sys.stdin.buffer.read())
    for document in compiled.documents:
        finish(digest_children(document.root))
    for held in framed(compiled):
        sys.stdout.buffer.write(held)
    sys.stdout.buffer.flush()
    os._exit(0)  # to free all of it takes a while, and nobody needs that


if __name__ == "__main__":
    main()
