from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

from rls.engine.layers import Layer
from rls.errors import SettingsError
from rls.sources.disk import Disk
from rls.sources.file_source import FileSource
from rls.sources.load import load
from rls.sources.watchdog import MAX_HUNG
from tests.injured import waits_for

DEADLINE = 20.0
GOOD = "domain: {0}\ndescriptors: [{{key: {1}}}]\n"


@asynccontextmanager
async def watching(*paths, loaded=None, poll_seconds=0.2):
    """The queue of what a loader of *paths* tells."""
    loaded = loaded or load(paths)
    async with running(FileSource(paths, loaded=loaded, poll_seconds=poll_seconds)) as news:
        yield news


@asynccontextmanager
async def running(loader):
    """The queue of what *loader* tells."""
    news: asyncio.Queue[Layer] = asyncio.Queue()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(loader.run(news.put))
        try:
            yield news
        finally:
            task.cancel()


async def told(news):
    return await asyncio.wait_for(news.get(), DEADLINE)


async def told_until(news, condition):
    """The first news that *condition* holds for; others may come before, where several files changed."""
    async with asyncio.timeout(DEADLINE):
        while not condition(loaded := await news.get()):
            pass
    return loaded


def keys(loaded) -> set[str]:
    return {key for domain in loaded.rules.domains.values() for key in domain.root.defaults}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


class ConfigMap:
    """A directory as the kubelet keeps it: names link to `..data/`, which links to the copy in force."""

    def __init__(self, directory: Path, **files: str) -> None:
        self.directory = directory
        self._versions = 0
        directory.mkdir()
        self.swap(**files)

    def swap(self, **files: str) -> None:
        self._versions += 1
        version = self.directory / f"..2026_01_01_00_00_00.{self._versions}"
        version.mkdir()
        for name, text in files.items():
            write(version / f"{name}.yaml", text)
        old = (self.directory / "..data").resolve()
        (self.directory / "..data_tmp").symlink_to(version.name)
        (self.directory / "..data_tmp").replace(self.directory / "..data")
        for name in files:
            link = self.directory / f"{name}.yaml"
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}.yaml")
        for link in self.directory.glob("*.yaml"):
            if link.stem not in files:
                link.unlink()
        if old.name != "..data":
            shutil.rmtree(old)


async def test_a_swapped_config_map_is_news(tmp_path):
    """A ConfigMap's new contents are loaded, whole."""
    volume = ConfigMap(tmp_path / "rules", a=GOOD.format("one", "a"), b=GOOD.format("two", "b"))
    async with watching(volume.directory) as news:
        volume.swap(a=GOOD.format("one", "A"), b=GOOD.format("two", "B"))
        await told_until(news, lambda loaded: keys(loaded) == {"A", "B"})
        volume.swap(a=GOOD.format("one", "A"))
        await told_until(news, lambda loaded: keys(loaded) == {"A"})


async def test_a_file_of_a_config_map_may_be_named(tmp_path):
    """A swap is seen where not the volume but one of its files is watched."""
    volume = ConfigMap(tmp_path / "rules", a=GOOD.format("one", "a"), b=GOOD.format("two", "b"))
    async with watching(volume.directory / "a.yaml") as news:
        volume.swap(a=GOOD.format("one", "A"), b=GOOD.format("two", "B"))
        assert keys(await told(news)) == {"A"}


@pytest.mark.parametrize("how", ["in place", "by rename"])
async def test_a_plain_write_is_news(tmp_path, how):
    """A file that is written, in place or as editors do, is loaded, also where the file itself is what was named."""
    path = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    async with watching(path) as news:
        if how == "in place":
            write(path, GOOD.format("one", "b"))
        else:
            write(tmp_path / "new", GOOD.format("one", "b")).rename(path)
        assert keys(await told(news)) == {"b"}


async def test_files_come_and_go(tmp_path):
    """A new file's rules are added, and those of a file that went are dropped."""
    write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    async with watching(tmp_path) as news:
        write(tmp_path / "b.yaml", GOOD.format("one", "b"))
        await told_until(news, lambda loaded: keys(loaded) == {"a", "b"})
        (tmp_path / "a.yaml").unlink()
        assert keys(await told(news)) == {"b"}


async def test_a_directory_within_is_watched_too(tmp_path):
    """Files of a new sub-directory are loaded, and their changes are seen."""
    async with watching(tmp_path) as news:
        (tmp_path / "team").mkdir()
        path = write(tmp_path / "team" / "a.yaml", GOOD.format("one", "a"))
        await told_until(news, lambda loaded: keys(loaded) == {"a"})
        write(path, GOOD.format("one", "b"))
        await told_until(news, lambda loaded: keys(loaded) == {"b"})


async def test_a_touch_is_no_news(tmp_path):
    """A file whose contents stay the same is not told, however it was written."""
    path = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    other = write(tmp_path / "b.yaml", GOOD.format("two", "b"))
    async with watching(tmp_path) as news:
        os.utime(path, (1, 1))
        write(path, GOOD.format("one", "a"))
        write(other, GOOD.format("two", "c"))
        assert keys(await told(news)) == {"a", "c"}
        assert news.empty()


async def test_a_bad_file_is_news_and_keeps_its_last_good_rules(tmp_path):
    """A mistake is told once, with the rules that stay; and so is its repair."""
    path = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    async with watching(path) as news:
        write(path, "domain: one\ndescriptors: [{ky: a}]\n")
        bad = await told(news)
        assert keys(bad) == {"a"}
        assert bad.diagnostics
        write(path, GOOD.format("one", "a"))
        repaired = await told(news)
        assert keys(repaired) == {"a"}
        assert not repaired.diagnostics


async def test_what_changed_before_it_began_is_news(tmp_path):
    """What was written between the first load and the watch is not missed."""
    path = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    loaded = load([path])
    write(path, GOOD.format("one", "b"))
    async with watching(path, loaded=loaded) as news:
        assert keys(await told(news)) == {"b"}


async def test_a_directory_that_is_replaced_is_still_watched(tmp_path):
    """A directory may vanish, and stay away, and come back as another one: its last rules hold until then."""
    directory = tmp_path / "rules"
    directory.mkdir()
    write(directory / "a.yaml", GOOD.format("one", "a"))
    async with watching(directory) as news:
        shutil.rmtree(directory)
        gone = await told_until(news, lambda loaded: any("No such file" in str(p) for p in loaded.diagnostics))
        assert keys(gone) <= {"a"}
        directory.mkdir()
        write(directory / "a.yaml", GOOD.format("one", "b"))
        await told_until(news, lambda loaded: keys(loaded) == {"b"} and not loaded.diagnostics)
        write(directory / "a.yaml", GOOD.format("one", "c"))
        await told_until(news, lambda loaded: keys(loaded) == {"c"})


async def test_a_directory_that_was_moved_away_keeps_its_rules(tmp_path):
    """A path that is missing altogether is a mistake, not an order to drop its rules."""
    directory = tmp_path / "rules"
    directory.mkdir()
    write(directory / "a.yaml", GOOD.format("one", "a"))
    async with watching(directory) as news:
        directory.rename(tmp_path / "elsewhere")
        gone = await told(news)
        assert keys(gone) == {"a"}
        assert [str(problem) for problem in gone.diagnostics] == [
            f"{directory}:1:1: cannot be read (No such file or directory), expected rules in YAML; its last good rules stay"
        ]


async def test_a_path_that_comes_later_is_loaded(tmp_path):
    """What is watched need not be there yet, nor its directory."""
    directory = tmp_path / "rules"
    async with watching(directory / "a.yaml") as news:
        directory.mkdir()
        write(directory / "a.yaml", GOOD.format("one", "a"))
        await told_until(news, lambda loaded: keys(loaded) == {"a"} and not loaded.diagnostics)


async def test_what_is_skipped_is_news(tmp_path):
    """Though no file has changed: a warning comes with what it is about, and goes with it."""
    write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    async with watching(tmp_path) as news:
        (tmp_path / "team-b").symlink_to("nowhere")
        warned = await told(news)
        assert [str(warning) for warning in warned.warnings] == [
            f"{tmp_path}/team-b:1:1: leads nowhere (No such file or directory), so nothing is read here"
        ]
        (tmp_path / "team-b").unlink()
        assert not (await told(news)).warnings


async def test_a_bug_in_loading_is_told_and_does_not_end_the_watch(tmp_path, monkeypatch):
    """What load raises becomes a problem, once; the rules stay, and the next change is taken."""
    path = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    loaded = load([path])

    def fail(paths, previous, *rest, **options):
        yield
        raise ZeroDivisionError("bug")

    async with watching(path, loaded=loaded) as news:
        with monkeypatch.context() as patch:
            patch.setattr(import_module("rls.sources.file_source"), "combine", fail)
            write(path, GOOD.format("one", "b"))
            failed = await told(news)
            assert keys(failed) == {"a"}
            assert "ZeroDivisionError('bug')" in str(failed.diagnostics[0])
        write(path, GOOD.format("one", "c"))
        assert keys(await told(news)) == {"c"}


async def test_a_lack_of_threads_is_told_and_does_not_end_the_watch(tmp_path, monkeypatch):
    """A pod may have a bound on them."""
    path = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    loader = FileSource([path], poll_seconds=0.05)
    await loader.start()
    async with running(loader) as news:
        with monkeypatch.context() as patch:

            def fail(thread):
                raise RuntimeError("can't start new thread")

            patch.setattr(threading.Thread, "start", fail)
            failed = await told(news)
            assert keys(failed) == {"a"}
            assert "can't start new thread" in str(failed.diagnostics[0])
        write(path, GOOD.format("one", "b"))
        await told_until(news, lambda loaded: keys(loaded) == {"b"} and not loaded.diagnostics)


class ControlledDisk(Disk):
    """The disk; what is asked of some paths waits until it is let go."""

    def __init__(self) -> None:
        self.reads = 0
        self.waiting: dict[str, int] = {}
        self._gates: dict[str, threading.Event] = {}

    def hold(self, path: Path | str) -> threading.Event:
        """Let all that is asked of *path* wait for the event."""
        return self._gates.setdefault(str(path), threading.Event())

    def _pass(self, path: str) -> None:
        gate = self._gates.get(path)
        if gate is not None and not gate.is_set():
            self.waiting[path] = self.waiting.get(path, 0) + 1
            gate.wait(DEADLINE)

    def stat(self, path: str) -> os.stat_result:
        self._pass(f"stat {path}")
        return super().stat(path)

    def names(self, path: str) -> list[str]:
        self._pass(path)
        return super().names(path)

    def chunks(self, path: str) -> Iterator[bytes]:
        self.reads += 1
        self._pass(path)
        yield from super().chunks(path)


async def until(condition) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110  # what is waited for is another thread's
            await asyncio.sleep(0.01)


async def test_a_request_loads_even_if_nothing_changed(tmp_path):
    """Whoever sends SIGHUP wants to see that the rules were read."""
    write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    loader = FileSource([tmp_path], poll_seconds=60)
    await loader.start()
    async with running(loader) as news:
        for _ in range(2):
            loader.request()
            assert keys(await told(news)) == {"a"}


async def test_a_change_that_stat_does_not_show_is_loaded_on_request(tmp_path):
    """Some volumes keep the times of files; so does whoever sets them."""
    path = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    os.utime(path, (1, 1))
    loader = FileSource([tmp_path], poll_seconds=60)
    await loader.start()
    async with running(loader) as news:
        loader.request()
        await told(news)
        write(path, GOOD.format("one", "b"))
        os.utime(path, (1, 1))
        loader.request()
        assert keys(await told(news)) == {"b"}


async def test_requests_that_come_while_a_load_runs_make_one_more(tmp_path):
    """The load that runs may have read the file before it was written, so its rules must not be the last."""
    path = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    disk = ControlledDisk()
    loader = FileSource([path], disk=disk, answer_seconds=60, poll_seconds=60, quiet_seconds=0.001)
    await loader.start()
    async with running(loader) as news:
        loader.request()
        await told(news)
        gate = disk.hold(path)
        loader.request()
        await until(lambda: disk.waiting.get(str(path)) == 1)
        write(path, GOOD.format("one", "b"))
        for _ in range(5):
            loader.request()
        gate.set()
        loads = [await told(news), await told(news)]
        assert keys(loads[-1]) == {"b"}
        await asyncio.sleep(0.2)
        assert news.empty()
        assert disk.reads == 4, "at the start, and for each that was told"


async def test_a_file_that_does_not_answer_keeps_its_rules_and_holds_up_no_other(tmp_path):
    """The path is named, and since when; when it answers again its rules are read."""
    slow = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    other = write(tmp_path / "b.yaml", GOOD.format("two", "b"))
    disk = ControlledDisk()
    loader = FileSource([tmp_path], disk=disk, answer_seconds=0.5, poll_seconds=0.05)
    await loader.start()
    async with running(loader) as news:
        gate = disk.hold(slow)
        write(slow, GOOD.format("one", "A"))
        hung = await told_until(news, lambda loaded: loaded.unread)
        assert keys(hung) == {"a", "b"}
        (problem,) = map(str, hung.unread)
        said = (
            rf"{slow}:1:1: cannot be read \(no answer since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ\), expected rules in YAML"
        )
        assert re.fullmatch(said, problem)

        def still_hangs(loaded, *expected):
            return keys(loaded) == set(expected) and list(map(str, loaded.unread)) == [problem]

        for key in ("c", "d"):
            write(other, GOOD.format("two", key))
            await told_until(news, lambda loaded, key=key: still_hangs(loaded, "a", key))
        loader.request()
        await told_until(news, lambda loaded: still_hangs(loaded, "a", "d"))
        assert disk.waiting[str(slow)] == 1, "one thread hangs, not one for each load"
        gate.set()
        await told_until(news, lambda loaded: keys(loaded) == {"A", "d"} and not loaded.diagnostics)


@pytest.mark.parametrize("asked", ["{}", "stat {}"])
async def test_a_directory_that_does_not_answer_keeps_its_rules(tmp_path, asked):
    """A volume that hangs where it is listed, or as soon as it is looked at."""
    slow, other = tmp_path / "slow", tmp_path / "other"
    for directory in (slow, other):
        directory.mkdir()
    path = write(slow / "a.yaml", GOOD.format("one", "a"))
    write(other / "b.yaml", GOOD.format("two", "b"))
    disk = ControlledDisk()
    loader = FileSource([slow, other], disk=disk, answer_seconds=0.5, poll_seconds=0.05)
    await loader.start()
    async with running(loader) as news:
        gate = disk.hold(asked.format(slow))
        write(path, GOOD.format("one", "A"))
        write(other / "b.yaml", GOOD.format("two", "c"))
        await told_until(
            news,
            lambda loaded: (
                keys(loaded) == {"a", "c"} and [problem.place.file for problem in loaded.unread] == [str(slow)]
            ),
        )
        gate.set()
        await told_until(news, lambda loaded: keys(loaded) == {"A", "c"} and not loaded.diagnostics)


async def test_a_volume_of_many_files_holds_a_bounded_number_of_threads(tmp_path):
    """It answers to its directory, but to no file."""
    paths = [write(tmp_path / f"{n:02}.yaml", GOOD.format(n, "a")) for n in range(3 * MAX_HUNG)]
    disk = ControlledDisk()
    loader = FileSource([tmp_path], disk=disk, answer_seconds=0.05, poll_seconds=0.05)
    await loader.start()
    async with running(loader) as news:
        gates = [disk.hold(path) for path in paths]
        loader.request()
        hung = await told(news)
        assert len(hung.rules.domains) == len(paths)
        assert hung.diagnostics == hung.unread
        assert 1 <= sum(disk.waiting.values()) <= MAX_HUNG
        for gate in gates:
            gate.set()
        await told_until(news, lambda loaded: not loaded.diagnostics)


async def test_it_starts_though_a_volume_does_not_answer(tmp_path):
    """With the rules that there are."""
    slow = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    other = write(tmp_path / "b.yaml", GOOD.format("two", "b"))
    disk = ControlledDisk()
    gates = [disk.hold(f"stat {slow}"), disk.hold(slow)]
    loaded = await FileSource([slow, other], disk=disk, answer_seconds=2).start()
    assert keys(loaded) == {"b"}
    assert [problem.place.file for problem in loaded.unread] == [str(slow)]
    for gate in gates:
        gate.set()


async def test_what_is_slow_but_answers_is_read(tmp_path):
    """Each operation has its time, not the whole load."""

    class SlowDisk(Disk):
        def chunks(self, path: str) -> Iterator[bytes]:
            for chunk in super().chunks(path):
                for byte in chunk:
                    threading.Event().wait(0.01)
                    yield bytes([byte])

    path = write(tmp_path / "a.yaml", GOOD.format("one", "a") + "#" * 200)
    loaded = await FileSource([path], disk=SlowDisk(), answer_seconds=1.5).start()
    assert keys(loaded) == {"a"}
    assert not loaded.diagnostics


async def test_a_path_that_is_not_there_at_the_start(tmp_path):
    for path in (tmp_path / "none", write(tmp_path / "file", "") / "none"):
        with pytest.raises(SettingsError, match=f"no such file or directory: {path}, expected rules in YAML"):
            await FileSource([tmp_path, path]).start()


@pytest.mark.parametrize("seed", range(8))
async def test_edits_and_requests_in_any_order_end_with_the_newest_rules(tmp_path, seed):
    """However slow the disk is in between, and whether or not stat shows the edits."""
    chance = random.Random(seed)

    class UnevenDisk(Disk):
        def chunks(self, path: str) -> Iterator[bytes]:
            for chunk in super().chunks(path):
                threading.Event().wait(random.choice((0, 0, 0.002, 0.02)))
                yield chunk

    paths = [write(tmp_path / f"{name}.yaml", GOOD.format(name, "0")) for name in "abc"]
    loader = FileSource([tmp_path], disk=UnevenDisk(), poll_seconds=0.01, quiet_seconds=0.005)
    applied: list[Layer] = [await loader.start()]
    task = asyncio.create_task(loader.run(taking(applied)))
    try:
        newest = {path.stem: 0 for path in paths}
        for edit in range(1, 60):
            path = chance.choice(paths)
            newest[path.stem] = edit
            write(path, GOOD.format(path.stem, edit))
            if chance.random() < 0.3:
                os.utime(path, (1, 1))
                loader.request()
            if chance.random() < 0.3:
                loader.request()
            await asyncio.sleep(chance.choice((0, 0.001, 0.01, 0.03)))
        loader.request()
        await until(lambda: edits(applied[-1]) == newest)
        await asyncio.sleep(0.1)  # nothing older may follow
        assert edits(applied[-1]) == newest
    finally:
        task.cancel()
    for before, after in pairwise(applied):
        seen, now = edits(before), edits(after)
        assert all(now[name] >= seen[name] for name in seen), "an earlier load overtook a later one"


def taking(into: list[Layer]):
    """What puts loads into a list."""

    async def apply(loaded: Layer) -> None:
        into.append(loaded)

    return apply


def edits(loaded: Layer) -> dict[str, int]:
    """By file, which edit of it is in force."""
    return {name: int(next(iter(domain.root.defaults))) for name, domain in loaded.rules.domains.items()}


async def test_an_error_from_elsewhere_is_not_taken_for_one_of_loading(tmp_path):
    """It ends the loader, and so the service, wherever the loader is: here while it waits for its thread."""
    path = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    disk = ControlledDisk()
    gate = disk.hold(f"stat {path}")
    task = asyncio.create_task(FileSource([path], disk=disk, answer_seconds=60).run(taking([])))
    await until(lambda: disk.waiting)
    waited = waits_for(task)
    assert waited is not None
    waited.set_exception(ZeroDivisionError("struck"))
    with pytest.raises(ZeroDivisionError, match="struck"):
        await asyncio.wait_for(task, DEADLINE)
    gate.set()
