from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

import pytest

from rls.config import Loaded, load, watch

DEADLINE = 20.0
GOOD = "domain: {0}\ndescriptors: [{{key: {1}}}]\n"


@asynccontextmanager
async def watching(*paths, loaded=None, look_seconds=0.2):
    """A watch over *paths*, and the queue of its news."""
    news: asyncio.Queue[Loaded] = asyncio.Queue()
    loaded = loaded or load(paths)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch(paths, news.put_nowait, loaded, look_seconds=look_seconds))
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
        assert bad.problems
        write(path, GOOD.format("one", "a"))
        repaired = await told(news)
        assert keys(repaired) == {"a"}
        assert not repaired.problems


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
        gone = await told_until(news, lambda loaded: any("No such file" in str(p) for p in loaded.problems))
        assert keys(gone) <= {"a"}
        directory.mkdir()
        write(directory / "a.yaml", GOOD.format("one", "b"))
        await told_until(news, lambda loaded: keys(loaded) == {"b"} and not loaded.problems)
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
        assert [str(problem) for problem in gone.problems] == [
            f"{directory}:1:1: cannot be read (No such file or directory), expected rules in YAML; its last good rules stay"
        ]


async def test_a_path_that_comes_later_is_loaded(tmp_path):
    """What is watched need not be there yet, nor its directory."""
    directory = tmp_path / "rules"
    async with watching(directory / "a.yaml") as news:
        directory.mkdir()
        write(directory / "a.yaml", GOOD.format("one", "a"))
        await told_until(news, lambda loaded: keys(loaded) == {"a"} and not loaded.problems)


async def test_a_bug_in_loading_is_told_and_does_not_end_the_watch(tmp_path, monkeypatch):
    """What load raises becomes a problem, once; the rules stay, and the next change is taken."""
    path = write(tmp_path / "a.yaml", GOOD.format("one", "a"))
    loaded = load([path])

    def fail(paths, previous):
        raise ZeroDivisionError("bug")

    async with watching(path, loaded=loaded) as news:
        with monkeypatch.context() as patch:
            patch.setattr(import_module("rls.config.watch"), "load", fail)
            write(path, GOOD.format("one", "b"))
            failed = await told(news)
            assert keys(failed) == {"a"}
            assert "ZeroDivisionError('bug')" in str(failed.problems[0])
        write(path, GOOD.format("one", "c"))
        assert keys(await told(news)) == {"c"}
