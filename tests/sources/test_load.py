from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from rls.core.match import match
from rls.core.model import Entry, RateLimit, Unit
from rls.sources.disk import MAX_FILE_BYTES
from rls.sources.load import LoadResult, load

ROOT = Path(__file__).parents[2]
BAD = ROOT / "tests/config/bad"
LIMIT = "rate_limit: {unit: minute, requests_per_unit: %d}"


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def rules_of(domain: str, *pairs: tuple[str, int]) -> list[str]:
    """Lines that limit values of the key `k`, each to a number of requests a minute; "" is the default."""
    items = [f"- {{key: k, value: '{value}', {LIMIT % limit}}}" for value, limit in pairs]
    return [f"domain: {domain}", "descriptors:", *items]


def limit_of(loaded: LoadResult, domain: str, value: str) -> int | None:
    found = match(loaded.rules.domains[domain], (Entry("k", value),)) if domain in loaded.rules.domains else None
    return None if found is None or found.rule.limit is None else found.rule.limit.requests_per_unit


def texts(problems) -> list[str]:
    return [str(problem) for problem in problems]


@pytest.mark.parametrize("name", sorted(path.name for path in BAD.iterdir()))
def test_a_bad_file_has_exactly_the_problem_of_its_first_line(name, monkeypatch):
    """Each mistake is told once, at its place, with what was expected."""
    monkeypatch.chdir(BAD)
    first_line = Path(name).read_bytes().split(b"\n")[0].decode()
    loaded = load([Path(name)])
    assert texts(loaded.diagnostics) == [f"{name}:{first_line.removeprefix('# ')}"]
    assert not loaded.warnings
    assert not loaded.rules.domains


def test_the_worked_example():
    """It has no mistakes, and does what its comments say."""
    loaded = load([ROOT / "config" / "descriptors.yaml"])
    assert not loaded.diagnostics
    assert not loaded.warnings
    mesh = loaded.rules.domains["mesh"]

    def rule(key, value):
        found = match(mesh, (Entry(key, value),))
        assert found is not None
        return found.rule

    assert rule("company_id", "globex").limit == RateLimit(100, Unit.MINUTE, name="company")
    assert rule("company_id", "acme").limit == RateLimit(5, Unit.MINUTE, name="company-acme")
    assert rule("company_id", "loadtest-7").limit is None
    assert rule("remote_address", "192.0.2.1").limit == RateLimit(20, Unit.MINUTE, name="ip")
    for value in ("globex", "acme", "loadtest-7"):
        assert rule("company_id", value).replaces == {"ip"}


def test_all_mistakes_of_all_files_are_told_in_order(tmp_path):
    """One load shows everything that is wrong, sorted by file and place."""
    write(tmp_path / "b.yaml", "domain: b", "descriptors:", "- {key: k, ratelimit: {}}", "- value: v")
    write(tmp_path / "a.yaml", "domain: a", "descriptors: []", "unit: hour", "kye: x")
    write(tmp_path / "c.yaml", "domain: [")
    loaded = load([tmp_path])
    places = [(Path(problem.place.file).name, problem.place.line) for problem in loaded.diagnostics]
    assert places == [("a.yaml", 3), ("a.yaml", 4), ("b.yaml", 3), ("b.yaml", 4), ("c.yaml", 2)]


def test_documents_of_one_domain_are_merged_in_name_order(tmp_path):
    """The first wildcard that matches wins, over documents and files alike."""
    write(tmp_path / "b.yaml", *rules_of("d", ("*z", 4), ("y*", 5), ("exact", 6)))
    write(
        tmp_path / "a.yaml", *rules_of("d", ("x*", 1)), "---", *rules_of("e", ("x*", 2)), "---", *rules_of("d", ("", 3))
    )
    loaded = load([tmp_path])
    assert not loaded.diagnostics
    assert [limit_of(loaded, "d", value) for value in ("xz", "yz", "y", "exact", "other")] == [1, 4, 5, 6, 3]
    assert limit_of(loaded, "e", "x") == 2
    swapped = load([tmp_path / "b.yaml", tmp_path / "a.yaml"])
    assert limit_of(swapped, "d", "xz") == 4


def test_one_descriptor_in_two_files_names_both_places(tmp_path):
    """Of two files that say the same, the later one is wrong, and is told where the other says it."""
    a = write(tmp_path / "a.yaml", *rules_of("d", ("v", 1), ("", 2)))
    b = write(tmp_path / "b.yaml", *rules_of("d", ("w", 3), ("v", 4), ("", 5)))
    loaded = load([tmp_path])
    assert texts(loaded.diagnostics) == [
        f"{b}:4:3: duplicate descriptor `k_v`, expected one: the first stands at {a}:3:3",
        f"{b}:5:3: duplicate descriptor `k`, expected one: the first stands at {a}:4:3",
    ]
    assert loaded.files == (str(a),)
    assert [limit_of(loaded, "d", value) for value in ("v", "w")] == [1, 2]


def test_of_two_files_that_say_the_same_the_changed_one_is_taken_back(tmp_path):
    """Who adds what another file already says is wrong, whatever the files are called."""
    a = write(tmp_path / "a.yaml", *rules_of("d", ("v", 1)))
    b = write(tmp_path / "b.yaml", *rules_of("d", ("w", 2)))
    first = load([tmp_path])
    write(a, *rules_of("d", ("v", 3), ("w", 4)))
    second = load([tmp_path], first)
    assert texts(second.diagnostics) == [
        f"{a}:4:3: duplicate descriptor `k_w`, expected one: the first stands at {b}:3:3"
    ]
    assert [limit_of(second, "d", value) for value in ("v", "w")] == [1, 2]
    write(b, *rules_of("d", ("x", 5)))
    third = load([tmp_path], second)
    assert not third.diagnostics
    assert [limit_of(third, "d", value) for value in ("v", "w", "x")] == [3, 4, 5]


def test_a_bad_file_keeps_its_last_good_rules_and_others_load(tmp_path):
    """A mistake in one file holds up neither its own last good rules nor the changes of other files."""
    a = write(tmp_path / "a.yaml", *rules_of("a", ("", 1)))
    b = write(tmp_path / "b.yaml", *rules_of("b", ("", 1)))
    first = load([tmp_path])
    write(a, "domain: a", "descriptors: [")
    write(b, *rules_of("b", ("", 2)))
    second = load([tmp_path], first)
    assert (limit_of(second, "a", "v"), limit_of(second, "b", "v")) == (1, 2)
    assert [problem.place.file for problem in second.diagnostics] == [str(a)]
    third = load([tmp_path], second)
    assert limit_of(third, "a", "v") == 1, "still, after another load"
    write(a, *rules_of("a", ("", 3)))
    fourth = load([tmp_path], third)
    assert limit_of(fourth, "a", "v") == 3
    assert not fourth.diagnostics


def test_a_file_that_is_bad_at_the_start_has_no_rules(tmp_path):
    """Without anything to keep, the rules of a bad file are absent, and the others hold."""
    write(tmp_path / "a.yaml", "domain: a", "descriptor: []")
    write(tmp_path / "b.yaml", *rules_of("b", ("", 1)))
    loaded = load([tmp_path])
    assert set(loaded.rules.domains) == {"b"}
    assert loaded.files == (str(tmp_path / "b.yaml"),)
    assert loaded.diagnostics


def test_a_bad_document_takes_its_file_with_it(tmp_path):
    """Of a file with one bad document nothing is used: half of a file is not what somebody wrote."""
    path = write(tmp_path / "a.yaml", *rules_of("a", ("", 1)), "---", "domain: b", "descriptors: x")
    loaded = load([path])
    assert not loaded.rules.domains


def test_a_file_that_went_drops_its_rules(tmp_path):
    """Deleting a file of a directory is how its rules are dropped."""
    a = write(tmp_path / "a.yaml", *rules_of("a", ("", 1)))
    write(tmp_path / "b.yaml", *rules_of("b", ("", 1)))
    first = load([tmp_path])
    a.unlink()
    second = load([tmp_path], first)
    assert set(second.rules.domains) == {"b"}
    assert not second.diagnostics


def test_a_path_that_went_keeps_its_rules_in_their_order(tmp_path):
    """A named path that is missing is a mishap: its rules stay, and where they are merged does too."""
    one, two = tmp_path / "one", tmp_path / "two"
    write(one / "a.yaml", *rules_of("d", ("x*", 1)))
    write(two / "a.yaml", *rules_of("d", ("*x", 2)))
    first = load([one, two])
    one.rename(tmp_path / "gone")
    second = load([one, two], first)
    assert texts(second.diagnostics) == [
        f"{one}:1:1: cannot be read (No such file or directory), expected rules in YAML; its last good rules stay"
    ]
    assert limit_of(second, "d", "xx") == 1
    assert limit_of(second, "d", "-x") == 2


def test_an_unreadable_file_keeps_its_last_good_rules(tmp_path):
    """What cannot be read is a problem of that file alone."""
    path = write(tmp_path / "a.yaml", *rules_of("a", ("", 1)))
    first = load([tmp_path])
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    second = load([tmp_path], first)
    assert texts(second.diagnostics) == [
        f"{path}:1:1: cannot be read (No such file or directory), expected rules in YAML"
    ]
    assert limit_of(second, "a", "v") == 1


def test_rules_of_unchanged_files_stay_the_same_objects(tmp_path):
    """What did not change is not read again: its rules keep their identity, so nothing that knows them goes stale."""
    write(tmp_path / "a.yaml", *rules_of("a", ("", 1)))
    b = write(tmp_path / "b.yaml", *rules_of("b", ("", 1)))
    first = load([tmp_path])
    write(b, *rules_of("b", ("", 2)))
    second = load([tmp_path], first)
    assert second.rules.domains["a"].root is first.rules.domains["a"].root
    assert limit_of(second, "b", "v") == 2


def test_warnings_stay_while_their_file_does(tmp_path):
    """A load that finds a file unchanged repeats what is odd about it."""
    write(tmp_path / "a.yaml", "domain: a")
    first = load([tmp_path])
    assert first.warnings
    assert load([tmp_path], first).warnings == first.warnings


def test_replaces_may_name_a_rule_of_another_file(tmp_path):
    """Names hold for a whole domain, whatever file they stand in, and for no other domain."""
    write(
        tmp_path / "a.yaml",
        "domain: d",
        "descriptors:",
        "- {key: a, rate_limit: {unit: day, requests_per_unit: 1, replaces: [{name: b}, {name: c}]}}",
    )
    write(tmp_path / "b.yaml", "domain: d", "descriptors:", "- {key: b, rate_limit: {unlimited: true, name: b}}")
    write(tmp_path / "c.yaml", "domain: e", "descriptors:", "- {key: c, rate_limit: {unlimited: true, name: c}}")
    loaded = load([tmp_path])
    assert [problem.message for problem in loaded.warnings] == [
        "`replaces` names `c`, but no rate limit of this domain has that name"
    ]


def test_wildcards_of_other_files_are_seen_to_hide_one(tmp_path):
    """A wildcard that an earlier file's takes everything from is told."""
    write(tmp_path / "a.yaml", *rules_of("d", ("x*", 1)))
    b = write(tmp_path / "b.yaml", *rules_of("d", ("xy*", 2)))
    loaded = load([tmp_path])
    assert texts(loaded.warnings) == [f"{b}:3:3: `k_xy*` is never reached: the wildcard `x*` takes all of its values"]


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "---\n---\n", "\ufeff"], ids=["empty", "comment", "null", "nulls", "mark"]
)
def test_a_file_that_lost_its_documents_keeps_them(tmp_path, text):
    """Cut off by a full disk, or half written: nobody drops rules like that."""
    path = write(tmp_path / "a.yaml", *rules_of("a", ("", 1)))
    first = load([tmp_path])
    path.write_text(text)
    second = load([tmp_path], first)
    assert limit_of(second, "a", "v") == 1
    assert texts(second.diagnostics) == [f"{path}:1:1: the file holds no document, expected `domain: …`"]
    assert second.mistakes == second.diagnostics


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = write(tmp_path / "a.yaml", *rules_of("a", ("", 1)))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    loaded = load([tmp_path])
    assert limit_of(loaded, "a", "v") == 1
    assert not loaded.diagnostics


def test_a_directory_that_becomes_empty_keeps_its_rules(tmp_path):
    """Until there are new ones, or the directory is gone as well; whatever the number of loads in between."""
    a = write(tmp_path / "one" / "a.yaml", *rules_of("a", ("", 1)))
    write(tmp_path / "two" / "b.yaml", *rules_of("b", ("", 1)))
    loaded = load([tmp_path])
    a.unlink()
    for _ in range(3):
        loaded = load([tmp_path], loaded)
        assert limit_of(loaded, "a", "v") == 1
        assert texts(loaded.diagnostics) == [
            f"{tmp_path}/one:1:1: no rules are left in this directory; its last good rules stay"
        ]
        assert loaded.lost == loaded.diagnostics
    a.parent.rmdir()
    loaded = load([tmp_path], loaded)
    assert set(loaded.rules.domains) == {"b"}
    assert not loaded.diagnostics


def test_an_emptied_directory_gives_way_to_new_rules(tmp_path):
    a = write(tmp_path / "a.yaml", *rules_of("a", ("", 1)))
    first = load([tmp_path])
    a.unlink()
    second = load([tmp_path], first)
    write(tmp_path / "b.yaml", *rules_of("b", ("", 2)))
    third = load([tmp_path], second)
    assert set(third.rules.domains) == {"b"}
    assert not third.diagnostics


def test_a_file_that_moved_to_another_directory_is_no_loss(tmp_path):
    """The directory that it left is empty, but what it held stands elsewhere."""
    a = write(tmp_path / "one" / "a.yaml", *rules_of("a", ("v", 1), ("w", 1)))
    write(tmp_path / "two" / "b.yaml", *rules_of("b", ("", 1)))
    first = load([tmp_path])
    a.unlink()
    write(tmp_path / "two" / "a.yaml", *rules_of("a", ("v", 2)))
    second = load([tmp_path], first)
    assert not second.diagnostics
    assert [limit_of(second, "a", value) for value in ("v", "w")] == [2, None]


def test_a_file_that_is_renamed_and_goes_bad_keeps_its_rules(tmp_path):
    """Where nothing of what took its place is good, the new name is no order to drop the old rules."""
    a = write(tmp_path / "rules" / "a.yaml", *rules_of("a", ("", 1)))
    other = write(tmp_path / "other.yaml", *rules_of("b", ("", 1)))
    paths = [tmp_path / "rules", other]
    first = load(paths)
    a.unlink()
    b = write(tmp_path / "rules" / "b.yaml", "domain: a", "descriptors: [")
    second = load(paths, first)
    assert limit_of(second, "a", "v") == 1
    assert texts(second.lost) == [f"{tmp_path}/rules:1:1: none of the files here is good; the last good rules stay"]
    assert [problem.place.file for problem in second.mistakes] == [str(b)]
    write(b, *rules_of("a", ("", 2)))
    third = load(paths, second)
    assert limit_of(third, "a", "v") == 2
    assert not third.diagnostics


@pytest.mark.parametrize("text", [rules_of("a", ("", 2)), ["domain: a", "descriptors: ["]], ids=["good", "bad"])
def test_a_directory_that_becomes_a_file(tmp_path, text):
    """A good file takes its place; a bad one does not."""
    path = tmp_path / "rules"
    write(path / "a.yaml", *rules_of("a", ("", 1)))
    other = write(tmp_path / "other.yaml", *rules_of("b", ("", 1)))
    first = load([path, other])
    (path / "a.yaml").unlink()
    path.rmdir()
    write(path, *text)
    second = load([path, other], first)
    assert limit_of(second, "a", "v") == (1 if second.diagnostics else 2)
    assert bool(second.lost) == ("descriptors: [" in text)


def test_a_file_that_becomes_a_directory(tmp_path):
    """An empty one, as a mount that went wrong leaves it."""
    path = write(tmp_path / "rules.yaml", *rules_of("a", ("", 1)))
    first = load([path])
    path.unlink()
    path.mkdir()
    second = load([path], first)
    assert limit_of(second, "a", "v") == 1
    assert texts(second.lost) == [f"{path}:1:1: no rules are left in this directory; its last good rules stay"]


def test_the_current_directory_may_be_named(tmp_path, monkeypatch):
    """Its files are known by names that do not begin with its own."""
    monkeypatch.chdir(tmp_path)
    a = write(Path("a.yaml"), *rules_of("a", ("", 1)))
    first = load([Path()])
    a.unlink()
    second = load([Path()], first)
    assert limit_of(second, "a", "v") == 1
    assert texts(second.lost) == [".:1:1: no rules are left in this directory; its last good rules stay"]


def test_a_path_without_rules_is_a_problem_unless_that_is_meant(tmp_path):
    (tmp_path / "config").write_text("domain: a")
    said = [
        (
            f"{tmp_path}:1:1: no rules in this directory, expected files named *.yaml or *.yml; 1 file was skipped: "
            f"{tmp_path}/config, expected a name that ends in .yaml or .yml"
        )
    ]
    loaded = load([tmp_path])
    assert texts(loaded.diagnostics) == texts(loaded.empty) == said
    loaded = load([tmp_path], allow_no_rules=True)
    assert not loaded.diagnostics
    assert texts(loaded.warnings)[:1] == said


@contextmanager
def as_nobody():
    """As a user who is not allowed everything, which root is."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder():
    """A folder that every user may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize(("mode", "path"), [(0o000, "rules"), (0o444, "rules/a.yaml"), (0o000, "rules/a.yaml")])
def test_what_may_not_be_read_keeps_its_rules(public_folder, mode, path):
    """A directory that may not be listed, one whose files may not be opened, and a file."""
    a = write(public_folder / "rules" / "a.yaml", *rules_of("a", ("", 1)))
    b = write(public_folder / "b.yaml", *rules_of("b", ("", 1)))
    paths = [a.parent, b]
    first = load(paths)
    denied = a if path.endswith(".yaml") and not mode else a.parent
    write(b, *rules_of("b", ("", 2)))
    denied.chmod(mode)
    try:
        with as_nobody():
            second = load(paths, first)
    finally:
        denied.chmod(0o755)
    assert [limit_of(second, domain, "v") for domain in ("a", "b")] == [1, 2]
    assert second.unread == second.diagnostics
    (problem,) = texts(second.unread)
    assert problem.startswith(f"{public_folder}/{path}:1:1: cannot be read (Permission denied)")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link_to_fifo(path: Path) -> None:
    os.mkfifo(path.parent / "pipe")
    path.symlink_to("pipe")


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_large(path: Path) -> None:
    path.touch()
    os.truncate(path, MAX_FILE_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_fifo, "it is a FIFO, not a regular file"),
        (make_link_to_fifo, "it is a FIFO, not a regular file"),
        (make_link_to_device, "it is a device, not a regular file"),
        (make_large, "it is larger than 32 MiB"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_only_regular_files_of_some_size_are_read(tmp_path, make, said, named):
    """A FIFO would block, a device may never end. Others are read."""
    a = write(tmp_path / "a.yaml", *rules_of("a", ("", 1)))
    b = write(tmp_path / "b.yaml", *rules_of("b", ("", 1)))
    paths = [a, b] if named else [tmp_path]
    first = load(paths)
    a.unlink()
    make(a)
    write(b, *rules_of("b", ("", 2)))
    second = load(paths, first)
    assert [limit_of(second, domain, "v") for domain in ("a", "b")] == [1, 2]
    assert (
        texts(second.diagnostics)
        == texts(second.unread)
        == [f"{a}:1:1: cannot be read ({said}), expected rules in YAML"]
    )


def test_a_problem_has_a_bounded_line(tmp_path):
    """What is wrong and what was expected stay."""
    long = "k" * 100_000
    write(tmp_path / "a.yaml", "domain: a", "descriptors:", f"- {{key: {long}}}", f"- {{key: {long}}}")
    (problem,) = load([tmp_path]).diagnostics
    assert len(problem.message) < 510
    assert problem.message.startswith("duplicate descriptor `kkk")
    assert problem.message.endswith(f"the first stands at {tmp_path}/a.yaml:3:3")
