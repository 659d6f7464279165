from __future__ import annotations

import os

import pytest

from rls.sources.disk import Disk


def test_a_file_is_read_whole(tmp_path):
    """Of one that is larger than a piece, too."""
    contents = os.urandom(2_500_000)
    path = tmp_path / "a.yaml"
    path.write_bytes(contents)
    assert Disk().read(str(path)) == contents


def test_what_is_no_file_is_not_even_opened(tmp_path, monkeypatch):
    """To open a device may have an effect, and who waits to write into a FIFO would go on."""
    os.mkfifo(tmp_path / "pipe")

    def opened(*_: object) -> int:
        raise AssertionError("it was opened")

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(OSError, match="it is a FIFO, not a regular file"):
        Disk().read(str(tmp_path / "pipe"))


def test_what_becomes_a_fifo_before_it_is_opened_does_not_block(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    regular = os.stat(tmp_path / "file")  # noqa: PTH116
    monkeypatch.setattr(os, "stat", lambda _: regular)
    with pytest.raises(OSError, match="it is a FIFO, not a regular file"):
        Disk().read(str(tmp_path / "pipe"))


def test_descriptors_are_closed(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "pipe.yaml").mkdir()
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    for name in ("file", "pipe.yaml"):
        for _ in range(3):
            try:
                Disk().read(str(tmp_path / name))
            except OSError as error:
                assert error.strerror == "it is a directory, not a regular file"  # noqa: PT017
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208
