from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from rls.errors import Diagnostic
from rls.sources import paths
from rls.sources.disk import Disk
from rls.sources.paths import MAX_DEPTH, find


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(directory: Path, files: Iterable[str]) -> list[str]:
    return [str(Path(file).relative_to(directory)) for file in files]


def texts(directory: Path, problems: Iterable[Diagnostic]) -> list[str]:
    """What they say, their files relative to *directory*, which is `{}` elsewhere."""
    return [str(problem).removeprefix(f"{directory}/").replace(str(directory), "{}") for problem in problems]


def test_a_directory_is_searched_by_name(tmp_path):
    """Files and sub-directories come in one order, whatever order the file system has."""
    touch(*(tmp_path / name for name in ("b.yaml", "a.yml", "c/a.yaml", "c/b/x.yaml", "B.yaml", "d.yaml")))
    found = find([tmp_path])
    assert names(tmp_path, found.files) == ["B.yaml", "a.yml", "b.yaml", "c/a.yaml", "c/b/x.yaml", "d.yaml"]
    assert not found.diagnostics
    assert not found.warnings


def test_names_with_a_dot_are_passed_over(tmp_path):
    """Of a ConfigMap's volume each file is found once, by the name that its user knows."""
    touch(tmp_path / "..2026_01_01" / "a.yaml", tmp_path / ".a.yaml.swp", tmp_path / ".hidden.yaml")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    found = find([tmp_path])
    assert names(tmp_path, found.files) == ["a.yaml"]
    assert not found.warnings


def test_links_to_directories_are_followed(tmp_path):
    """As kubelet makes them for `items.path`, and git-sync for what is checked out: the rules are found by their names."""
    touch(tmp_path / "map" / "..2026_01_01" / "team-a" / "rules.yaml", tmp_path / "git" / ".worktrees" / "x" / "a.yaml")
    (tmp_path / "map" / "..data").symlink_to("..2026_01_01")
    (tmp_path / "map" / "team-a").symlink_to("..data/team-a")
    (tmp_path / "git" / "current").symlink_to(".worktrees/x")
    found = find([tmp_path])
    assert names(tmp_path, found.files) == ["git/current/a.yaml", "map/team-a/rules.yaml"]
    assert not found.warnings
    assert not found.diagnostics


@pytest.mark.parametrize("target", [".", "..", "../../sub", "../.."])
def test_a_link_that_leads_back_is_warned_of(tmp_path, target):
    """It does not send the search in circles."""
    touch(tmp_path / "sub" / "a.yaml", tmp_path / "sub" / "b" / "c.yaml")
    (tmp_path / "sub" / "b" / "loop").symlink_to(target)
    found = find([tmp_path])
    assert names(tmp_path, found.files) == ["sub/a.yaml", "sub/b/c.yaml"]
    (warning,) = found.warnings
    where = (tmp_path / "sub" / "b" / target).resolve()
    assert str(warning) == f"{tmp_path}/sub/b/loop:1:1: leads back to {where}, so nothing is read here"


def test_links_that_lead_to_each_other(tmp_path):
    """Two teams include each other's directory: each file is read once."""
    touch(tmp_path / "a" / "a.yaml", tmp_path / "b" / "b.yaml")
    (tmp_path / "a" / "other").symlink_to("../b")
    (tmp_path / "b" / "other").symlink_to("../a")
    found = find([tmp_path])
    assert names(tmp_path, found.files) == ["a/a.yaml", "a/other/b.yaml"]
    assert texts(tmp_path, found.warnings) == [
        "a/other/other:1:1: leads back to {}/a, so nothing is read here",
        "b:1:1: is the same directory as {}/a/other, so nothing is read here",
    ]


def test_what_several_links_lead_to_is_read_once(tmp_path):
    """Read twice, each of its descriptors would be a duplicate."""
    touch(tmp_path / "real" / "a.yaml", tmp_path / "z.yaml")
    (tmp_path / "stable").symlink_to("real")
    (tmp_path / "b.yaml").symlink_to("z.yaml")
    (tmp_path / "c.yaml").hardlink_to(tmp_path / "z.yaml")
    found = find([tmp_path])
    assert names(tmp_path, found.files) == ["b.yaml", "real/a.yaml"]
    assert texts(tmp_path, found.warnings) == [
        "c.yaml:1:1: is the same file as {}/b.yaml, so nothing is read here",
        "stable:1:1: is the same directory as {}/real, so nothing is read here",
        "z.yaml:1:1: is the same file as {}/b.yaml, so nothing is read here",
    ]


def test_a_directory_that_is_given_twice_is_read_once(tmp_path):
    """By the same name, silently; by another one, with a warning."""
    touch(tmp_path / "rules" / "a.yaml")
    assert not find([tmp_path / "rules", tmp_path / "rules"]).warnings
    (tmp_path / "link").symlink_to("rules")
    found = find([tmp_path / "rules", tmp_path / "link"])
    assert names(tmp_path, found.files) == ["rules/a.yaml"]
    assert len(found.warnings) == 1
    assert not found.diagnostics


def test_what_leads_nowhere_is_warned_of(tmp_path):
    touch(tmp_path / "a.yaml")
    (tmp_path / "team-b").symlink_to("..data/team-b")
    (tmp_path / "self").symlink_to("self")
    found = find([tmp_path])
    assert names(tmp_path, found.files) == ["a.yaml"]
    assert texts(tmp_path, found.warnings) == [
        "self:1:1: leads nowhere (Too many levels of symbolic links), so nothing is read here",
        "team-b:1:1: leads nowhere (No such file or directory), so nothing is read here",
    ]


def test_a_link_that_leads_nowhere_any_more_keeps_its_last_files(tmp_path):
    """git-sync's link, between two versions of what it leads to."""
    (tmp_path / "current").symlink_to(".worktrees/gone")
    found = find([tmp_path], [str(tmp_path / "current" / "a.yaml")])
    assert names(tmp_path, found.kept) == ["current/a.yaml"]
    assert texts(tmp_path, found.lost) == [
        "current:1:1: cannot be read (No such file or directory), expected rules in YAML; its last good rules stay"
    ]


def test_a_tree_that_is_too_deep_is_a_problem(tmp_path):
    """A link out of the tree may lead anywhere; what is cut off may hold rules, so it is more than a warning."""
    path = tmp_path
    for _ in range(MAX_DEPTH):
        path /= "d"
        touch(path / "a.yaml")
    found = find([tmp_path])
    assert len(found.files) == MAX_DEPTH - 1
    (problem,) = found.unread
    assert str(problem) == f"{path}:1:1: is {MAX_DEPTH} directories deep, expected fewer"


def test_a_tree_that_is_too_large_is_a_problem(tmp_path, monkeypatch):
    """A link to `/` must not be walked twice a second. What was read from there before stays."""
    monkeypatch.setattr(paths, "MAX_ENTRIES", 4)
    touch(*(tmp_path / "b" / f"{n}.yaml" for n in range(4)), tmp_path / "a.yaml")
    found = find([tmp_path], [str(tmp_path / "b" / "0.yaml")])
    assert names(tmp_path, found.files) == ["a.yaml", "b/0.yaml"]
    assert texts(tmp_path, found.unread) == [
        "b:1:1: leads to more than 4 names, expected fewer; its last good rules stay"
    ]


def test_what_is_no_file_is_warned_of(tmp_path, monkeypatch):
    """Its name does not say that it holds rules."""
    touch(tmp_path / "a.yaml")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        found = find([tmp_path])
    assert texts(tmp_path, found.warnings) == [
        "pipe:1:1: is a FIFO, so nothing is read here",
        "socket:1:1: is a socket, so nothing is read here",
    ]


@pytest.mark.parametrize("seed", range(30))
def test_however_links_lead_each_file_that_can_be_reached_is_read_once(tmp_path, seed):
    chance = random.Random(seed)
    directories = [tmp_path]
    for n in range(chance.randrange(1, 8)):
        directories.append(chance.choice(directories) / chance.choice((f"d{n}", f".d{n}")))
        directories[-1].mkdir()
    for n in range(chance.randrange(1, 8)):
        touch(chance.choice(directories) / f"{n}.yaml")
    for n in range(chance.randrange(8)):
        target = chance.choice([*directories, *tmp_path.rglob("*.yaml"), tmp_path / "nowhere"])
        link = chance.choice(directories) / (f"l{n}" if target in directories else f"l{n}.yaml")
        link.symlink_to(os.path.relpath(target, link.parent))
    found = find([tmp_path])
    reached = {str(path.resolve()) for path in reachable(tmp_path) if path.exists()}
    read = [file for file in found.files if Path(file).exists()]
    assert {str(Path(file).resolve()) for file in read} == reached
    assert len(read) == len(reached)


def reachable(directory: Path) -> list[Path]:
    """All `*.yaml` that names without a dot and links lead to, by a search of another kind."""
    seen, left, files = set(), [directory], []
    while left:
        here = left.pop().resolve()
        if here in seen:
            continue
        seen.add(here)
        paths = [path for path in here.iterdir() if not path.name.startswith(".")]
        left += [path for path in paths if path.is_dir()]
        files += [path for path in paths if path.suffix == ".yaml" and not path.is_dir()]
    return files


def test_names_of_any_bytes(tmp_path):
    """A name need not be UTF-8."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.yaml"))
    touch(path)
    assert [os.fsencode(file) for file in find([tmp_path]).files] == [os.fsencode(path)]


def test_other_names_are_told(tmp_path):
    """A file that looks forgotten is warned of."""
    touch(tmp_path / "a.yaml", tmp_path / "rules.json")
    (warning,) = find([tmp_path]).warnings
    assert (
        str(warning) == f"{tmp_path}/rules.json:1:1: this file is not read, expected a name that ends in .yaml or .yml"
    )


def test_a_file_that_is_named_is_read_whatever_its_name(tmp_path):
    """Only directories are searched by name."""
    touch(tmp_path / "rules", tmp_path / ".hidden")
    found = find([tmp_path / "rules", tmp_path / ".hidden"])
    assert names(tmp_path, found.files) == ["rules", ".hidden"]


def test_an_empty_directory_is_a_problem(tmp_path):
    """A mount that went wrong looks like that."""
    touch(tmp_path / ".gitkeep")
    (problem,) = find([tmp_path]).empty
    assert str(problem) == f"{tmp_path}:1:1: no rules in this directory, expected files named *.yaml or *.yml"


@pytest.mark.parametrize(
    ("skipped", "said"),
    [
        (["config"], "1 file was skipped: {}/config"),
        (["sub/a.json", "sub/b.toml"], "2 files were skipped: {}/sub/a.json, {}/sub/b.toml"),
        (["a", "b", "c", "d", "e"], "5 files were skipped: {}/a, {}/b, {}/c and 2 more"),
    ],
)
def test_a_directory_without_rules_names_what_was_skipped(tmp_path, skipped, said):
    """A ConfigMap's key without `.yaml` is the usual reason."""
    touch(*(tmp_path / name for name in skipped))
    (problem,) = find([tmp_path]).empty
    expected = f"{said.replace('{}', str(tmp_path))}, expected a name that ends in .yaml or .yml"
    assert problem.message.endswith(f"*.yaml or *.yml; {expected}")


def test_a_directory_that_lost_all_of_its_files_keeps_them(tmp_path):
    """At any level: a volume below the directory that is named may be gone, too."""
    touch(tmp_path / "a.yaml", tmp_path / "team-a" / "config", tmp_path / "team-b" / "x.yaml")
    last = [str(tmp_path / name) for name in ("a.yaml", "team-a/1.yaml", "team-a/2/3.yaml", "team-b/y.yaml")]
    found = find([tmp_path], last)
    assert names(tmp_path, found.files) == ["a.yaml", "team-a/1.yaml", "team-a/2/3.yaml", "team-b/x.yaml"]
    assert names(tmp_path, sorted(found.kept)) == ["team-a/1.yaml", "team-a/2/3.yaml"]
    assert texts(tmp_path, found.diagnostics) == [
        (
            "team-a:1:1: no rules are left in this directory; its last good rules stay; 1 file was skipped: "
            "{}/team-a/config, expected a name that ends in .yaml or .yml"
        )
    ]


def test_what_goes_while_its_directory_is_read_is_gone(tmp_path):
    """It is no mistake: the next look will not find it either."""

    class LateDisk(Disk):
        def names(self, path: str) -> list[str]:
            return [*super().names(path), "gone.yaml", "gone"]

    touch(tmp_path / "a.yaml")
    found = find([tmp_path], [str(tmp_path / "gone.yaml"), str(tmp_path / "gone" / "b.yaml")], LateDisk())
    assert names(tmp_path, found.files) == ["a.yaml"]
    assert not found.diagnostics
    assert not found.warnings


def test_a_directory_that_is_gone_is_an_order(tmp_path):
    """Like a file that is gone, as long as others are left."""
    touch(tmp_path / "a.yaml")
    found = find([tmp_path], [str(tmp_path / "a.yaml"), str(tmp_path / "team-a" / "1.yaml")])
    assert names(tmp_path, found.files) == ["a.yaml"]
    assert not found.diagnostics


def test_a_missing_path_is_a_mistake(tmp_path):
    """It says which path, and what was expected there."""
    (problem,) = find([tmp_path / "nowhere"]).diagnostics
    assert str(problem) == f"{tmp_path}/nowhere:1:1: cannot be read (No such file or directory), expected rules in YAML"


def test_a_file_that_is_named_twice_is_found_once(tmp_path):
    """A directory and a file of it may both be named."""
    touch(tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert names(tmp_path, find([tmp_path / "b.yaml", tmp_path]).files) == ["b.yaml", "a.yaml"]


def test_a_missing_path_keeps_its_last_files_in_its_place(tmp_path):
    """Of other paths, whose names begin alike, no file is kept."""
    touch(tmp_path / "z.yaml")
    last = [str(tmp_path / name) for name in ("gone/a.yaml", "gone-too/a.yaml", "z.yaml")]
    found = find([tmp_path / "gone", tmp_path / "z.yaml"], last)
    assert names(tmp_path, found.files) == ["gone/a.yaml", "z.yaml"]
    assert names(tmp_path, found.kept) == ["gone/a.yaml"]


def test_a_path_that_cannot_be_had_is_a_mistake(tmp_path):
    """What the system says against a path is told, whatever it is."""
    path = tmp_path / ("x" * 300)
    (problem,) = find([path]).diagnostics
    assert str(problem) == f"{path}:1:1: cannot be read (File name too long), expected rules in YAML"
