"""Lines to a file or a pipe, which may hang, fail or be moved away."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from rls.observe.line_writer import FAILED, MOST_BYTES, STUCK, LineWriter
from tests.counters import until

INTO_STDOUT = """
import asyncio, sys
from rls.observe.line_writer import LineWriter

async def main():
    writer = LineWriter(None)
    for number in range(int(sys.argv[1])):
        writer.add(b"line %d " % number + b"x" * 1000)
        await asyncio.sleep(0)
    late = 0.0
    for _ in range(20):
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.01)
        late = max(late, asyncio.get_running_loop().time() - began)
    await writer.aclose(0.5)
    print(writer.written, *writer.dropped.values(), file=sys.stderr)

asyncio.run(main())
"""


async def test_a_system_that_gives_no_thread_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    said: list[str] = []
    writer = LineWriter(tmp_path / "log", said.append)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        writer.add(b"one")
        await until(lambda: bool(said))
    await until(partial(has_written, writer, 1))
    assert (tmp_path / "log").read_bytes() == b"one\n"
    assert said == [f"{tmp_path}/log: can't start new thread"]
    await writer.aclose(10)


def has_written(writer: LineWriter, lines: int) -> bool:
    return writer.written == lines


def has_failed(writer: LineWriter, lines: int) -> bool:
    return writer.dropped[FAILED] == lines


async def test_lines_are_written_in_their_order(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "log")
    lines = [b"line %d" % number for number in range(1000)]
    for line in lines:
        writer.add(line)
    await until(lambda: writer.written == 1000)
    writer.add(b"last")
    await writer.aclose(20)
    assert (tmp_path / "log").read_bytes().splitlines() == [*lines, b"last"]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640 & ~_umask()
    assert not any(writer.dropped.values())


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


async def test_a_file_that_was_moved_is_opened_anew_and_none_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    writer = LineWriter(path)
    for number, line in enumerate((b"first", b"second"), 1):
        writer.add(line)
        await until(partial(has_written, writer, number))
        path.rename(tmp_path / f"log.{number}")
    writer.add(b"third")
    await writer.aclose(20)
    found = [(tmp_path / name).read_bytes() for name in ("log.1", "log.2", "log")]
    assert found == [b"before\nfirst\n", b"second\n", b"third\n"]


async def test_a_file_is_opened_anew_when_asked(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "log")
    writer.add(b"first")
    await until(lambda: writer.written == 1)
    before = writer._file
    os.set_inheritable(before or 0, True)  # a mark that the file that is opened anew does not have
    writer.reopen()
    writer.add(b"second")
    await writer.aclose(20)
    assert writer._file is not None
    assert not os.get_inheritable(writer._file)
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\n"


@pytest.mark.parametrize("where", ["no/such/directory/log", "."])
async def test_a_file_that_cannot_be_written_is_told_once_and_counted(tmp_path: Path, where: str) -> None:
    told: list[str] = []
    writer = LineWriter(tmp_path / where, told.append)
    for number in range(1, 4):
        writer.add(b"line")
        await until(partial(has_failed, writer, number))
    await writer.aclose(1)
    assert writer.written == 0
    assert len(told) == 1
    assert str(tmp_path) in told[0]


async def test_a_disk_that_is_full_loses_lines_until_it_is_not() -> None:
    writer = LineWriter(Path("/dev/full"))
    writer.add(b"line")
    await until(lambda: writer.dropped[FAILED] == 1)
    await writer.aclose(1)


async def test_a_pipe_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    told: list[str] = []
    writer = LineWriter(path, told.append)
    line = b"x" * 1000
    try:
        for count in range(4 * MOST_BYTES // len(line)):
            writer.add(line)
            if count % 100 == 0:
                await asyncio.sleep(0.01)
        assert writer.dropped[STUCK] > 0
        assert told == [f"{path} does not take what is written"]
        began = time.monotonic()
        await writer.aclose(0.05)
        assert time.monotonic() - began < 10
    finally:
        os.close(reader)  # the write ends now
    await until(lambda: not writer._busy)


@pytest.mark.parametrize("lines", [10, 5_000])
def test_standard_output_that_nobody_reads_ends_with_the_process(lines: int) -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-c", INTO_STDOUT, str(lines)]
    process = subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        os.close(reader)
    written, stuck, failed = map(int, said.split())
    assert process.returncode == 0
    assert failed == 0
    if lines == 10:
        assert (written, stuck) == (10, 0)
    else:
        assert stuck > 0


async def test_a_pipe_that_others_made_non_blocking_gets_all(tmp_path: Path) -> None:
    reader, pipe = os.pipe()
    os.set_blocking(pipe, False)
    data = b"y" * 500_000
    writing = asyncio.get_running_loop().run_in_executor(None, LineWriter._write, pipe, data)
    got = b""
    while len(got) < len(data):
        got += await asyncio.to_thread(os.read, reader, 65_536)
    await writing
    os.close(reader)
    os.close(pipe)
    assert got == data
