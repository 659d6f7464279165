"""A file's bytes → rules, without a pause of the loop: small files in slices, large ones in a process of their own."""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence

from rls.config.compile import Compiled, compile_in_steps
from rls.engine.old_rules import OldRules
from rls.slices import Slices
from rls.sources.compile_process import LENGTH_BYTES
from rls.sources.transfer import Frame, Receiver

LARGE_BYTES = 128 * 1024
"""From this size on, a file has a process of its own. Smaller ones take less CPU than its start."""
_WRITE_BYTES = 256 * 1024
_ATTEMPTS = 2
_SILENT_SECONDS = 120.0
"""A process that says nothing for so long hangs."""
_REAP_SECONDS = 1.0


class _Failed(Exception):
    """The process that compiles a file ended before it was done, for example for lack of memory, or hangs."""


async def compile_pieces(file: str, pieces: Sequence[bytes], *, eager: bool = False) -> Compiled:
    """Compile the bytes of *file*.

    Args:
        file: Named in diagnostics.
        pieces: What it holds.
        eager: As for `Slices`.
    """
    slices = Slices(eager=eager)
    if sum(map(len, pieces)) >= LARGE_BYTES:
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(OSError, _Failed):
                return await _compile_elsewhere(file, pieces, slices)
        # Where the system gives no process, or ends it, slices take longer, but do it too.
    return await slices.run(compile_in_steps(file, b"".join(pieces)))


async def _compile_elsewhere(file: str, pieces: Sequence[bytes], slices: Slices) -> Compiled:
    receiver = Receiver(file)
    try:
        await _receive(receiver, file, pieces, slices)
    except (OSError, _Failed):
        OldRules().free(receiver.roots)
        raise
    compiled = receiver.compiled()
    if compiled.diagnostics:
        OldRules().free(receiver.roots)
    return compiled


async def _receive(receiver: Receiver, file: str, pieces: Sequence[bytes], slices: Slices) -> None:
    async with _process(file) as (reader, writer):
        with contextlib.suppress(ConnectionError, TimeoutError):  # it has ended, or hangs: reading tells
            for piece in pieces:
                for start in range(0, len(piece), _WRITE_BYTES):
                    writer.write(piece[start : start + _WRITE_BYTES])
                    async with asyncio.timeout(_SILENT_SECONDS):
                        await writer.drain()
            writer.write_eof()
        while not receiver.ended:
            receiver.take(await slices.wait(_next_frame(file, reader)))
            await slices.next()


async def _next_frame(file: str, reader: asyncio.StreamReader) -> Frame:
    try:
        async with asyncio.timeout(_SILENT_SECONDS):
            length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
            frame: Frame = marshal.loads(await reader.readexactly(length))  # noqa: S302 - from our own process
    except (asyncio.IncompleteReadError, ConnectionError):
        raise _Failed(f"the process that compiles {file} ended early") from None
    except TimeoutError:
        raise _Failed(f"the process that compiles {file} hangs") from None
    return frame


@contextlib.asynccontextmanager
async def _process(file: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A process that compiles *file*, by its standard input and output; ended at the end."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            # Not asyncio's: uvloop forks with all page tables, which takes a server of 800 MiB 30 ms, and this 0.4 ms.
            process = subprocess.Popen(  # noqa: ASYNC220, S603
                [sys.executable, "-P", "-m", "rls.sources.compile_process", file],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                start_new_session=True,
            )
        try:
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                yield reader, writer
            finally:
                writer.close()
        except BaseException:
            process.kill()
            raise
        finally:
            # It takes a moment to go, and whoever waits for it must not be the loop.
            try:
                threading.Thread(target=process.wait, name="compiled", daemon=True).start()
            except RuntimeError:  # the system gives no thread
                asyncio.get_running_loop().call_later(_REAP_SECONDS, process.poll)
