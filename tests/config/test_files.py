from __future__ import annotations

from pathlib import Path

from rls.config.files import find


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(directory: Path, files: list[str]) -> list[str]:
    return [str(Path(file).relative_to(directory)) for file in files]


def test_a_directory_is_searched_by_name(tmp_path):
    """Files and sub-directories come in one order, whatever order the file system has."""
    touch(*(tmp_path / name for name in ("b.yaml", "a.yml", "c/a.yaml", "c/b/x.yaml", "B.yaml", "d.yaml")))
    found = find([tmp_path])
    assert names(tmp_path, found.files) == ["B.yaml", "a.yml", "b.yaml", "c/a.yaml", "c/b/x.yaml", "d.yaml"]
    assert not found.problems
    assert not found.warnings


def test_names_with_a_dot_are_passed_over(tmp_path):
    """Of a ConfigMap's volume each file is found once, by the name that its user knows."""
    touch(tmp_path / "..2026_01_01" / "a.yaml", tmp_path / ".a.yaml.swp", tmp_path / ".hidden.yaml")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    found = find([tmp_path])
    assert names(tmp_path, found.files) == ["a.yaml"]
    assert not found.warnings


def test_links_to_directories_are_not_followed(tmp_path):
    """A link back up does not send the search in circles."""
    touch(tmp_path / "sub" / "a.yaml")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert names(tmp_path, find([tmp_path]).files) == ["sub/a.yaml"]


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


def test_an_empty_directory_is_told(tmp_path):
    """No rules at all is allowed, but hardly meant."""
    touch(tmp_path / ".gitkeep")
    found = find([tmp_path])
    assert not found.problems
    (warning,) = found.warnings
    assert str(warning) == f"{tmp_path}:1:1: no rules in this directory, expected files named *.yaml or *.yml"


def test_a_missing_path_is_a_mistake(tmp_path):
    """It says which path, and what was expected there."""
    (problem,) = find([tmp_path / "nowhere"]).problems
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
    assert names(tmp_path, list(found.lost)) == ["gone/a.yaml"]


def test_a_path_that_cannot_be_had_is_a_mistake(tmp_path):
    """What the system says against a path is told, whatever it is."""
    path = tmp_path / ("x" * 300)
    (problem,) = find([path]).problems
    assert str(problem) == f"{path}:1:1: cannot be read (File name too long), expected rules in YAML"
