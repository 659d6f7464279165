"""A process that compiles one file, so that the server's loop need not: `python -m rls.sources.compile_process FILE`.

It reads the text of FILE from standard input until its end, and writes `transfer` frames to standard output, each after
its length in four bytes. It sends rules as soon as they are compiled: the server takes them over meanwhile.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
import time
from collections.abc import Callable

from rls.config.compile import compile_in_steps
from rls.core.rules import TrieNode
from rls.engine.digests import digest_children
from rls.slices import finish
from rls.sources.transfer import Frame, Sender

LENGTH_BYTES = 4
_NICE = 10
"""The server goes first where both need one CPU: it gets nine tenths."""
_STRETCH_SECONDS = 0.001
"""Linux lets a process keep a CPU for up to 4 ms, even from one that goes first: calls would wait so long. See `Naps`."""
_NAP_SECONDS = 1e-6


class Naps:
    """Called between steps of work: leaves the CPU for a moment after each millisecond."""

    def __init__(self) -> None:
        self._until = time.monotonic() + _STRETCH_SECONDS

    def __call__(self) -> None:
        if time.monotonic() > self._until:
            time.sleep(_NAP_SECONDS)
            self._until = time.monotonic() + _STRETCH_SECONDS


def compile_and_send(file: str, text: bytes, send: Callable[[Frame], None]) -> None:
    """Compile the YAML *text* of *file*, and *send* all that comes of it, with digests."""
    sender, naps = Sender(send), Naps()

    def take(domain: str, root: TrieNode) -> None:
        finish(digest_children(root), naps)
        sender.take(domain, root)

    sender.end(finish(compile_in_steps(file, text, take), naps))


def main() -> None:
    os.nice(_NICE)
    gc.disable()  # what is dropped is in no cycle
    output = sys.stdout.buffer

    def send(frame: Frame) -> None:
        held = marshal.dumps(frame)
        output.write(len(held).to_bytes(LENGTH_BYTES, "big") + held)

    (file,) = sys.argv[1:]
    compile_and_send(file, sys.stdin.buffer.read(), send)
    output.flush()
    os._exit(0)  # to free all of it takes a while, and nobody needs that


if __name__ == "__main__":
    main()
