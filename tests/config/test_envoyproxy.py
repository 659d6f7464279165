"""What envoyproxy/ratelimit makes of files that are valid here. Its own checker has said so of each that it refuses."""

from pathlib import Path

import pytest

from rls.config.envoyproxy import KEYS, differences
from rls.config.schema import SHAPES
from rls.sources.disk import Disk
from rls.sources.load import load

LIMIT = "rate_limit: {unit: minute, requests_per_unit: 1}"


def found(folder: Path, *files: str) -> tuple[list[str], list[str]]:
    """What it refuses and what it reads otherwise, as `file:line:column: message`, of files that are valid here."""
    for name, text in zip("abc", files, strict=False):
        (folder / f"{name}.yaml").write_text(text)
    loaded = load([folder])
    assert loaded.diagnostics == ()
    return tuple(
        [str(one).removeprefix(f"{folder}/") for one in ones] for ones in differences(loaded.files, Disk().read)
    )  # type: ignore[return-value]


def rules(*descriptors: str) -> str:
    return "\n".join(["domain: mesh", "descriptors:", *(f"  - {{{one}}}" for one in descriptors), ""])


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        (
            rules("key: a, rate_limit: {unit: day, requests_per_unit: 1, unit_multiplier: 2}"),
            "3:60",
            "`unit_multiplier`",
        ),
        (rules(f"key: a, on_backend_error: deny, {LIMIT}"), "3:14", "it does not know `on_backend_error`"),
        (f"refund_over_limit: true\n{rules(f'key: a, {LIMIT}')}", "1:1", "it does not know `refund_over_limit`"),
        (rules(f"key: a, value: 1.10, {LIMIT}"), "3:21", "`1.10` is a number to it, expected quotes"),
        (rules(f"key: 1e3, {LIMIT}"), "3:11", "`1e3` is a number"),
        (rules(f"key: a, value: .inf, {LIMIT}"), "3:21", "`.inf` is a number"),
        (rules(f"key: a, value: 9223372036854775808, {LIMIT}"), "3:21", "`9223372036854775808` is a number"),
        (rules("key: a, rate_limit: {unit: day, requests_per_unit: 1, name: 1.5}"), "3:66", "`1.5` is a number"),
        (
            rules("key: a, rate_limit: {unit: day, requests_per_unit: 1, name: x, replaces: [{name: 1.5}]}"),
            "3:87",
            "`1.5` is a number",
        ),
        (
            rules(f"key: a, value: b_c, {LIMIT}", f"key: a_b, value: c, {LIMIT}"),
            "4:5",
            "calls this descriptor and that at {folder}/a.yaml:3:5 `a_b_c`",
        ),
        (
            rules(f"key: t, descriptors: [{{key: a, value: b, {LIMIT}}}, {{key: a_b, {LIMIT}}}]"),
            "3:98",
            "and that at {folder}/a.yaml:3:28 `a_b`",
        ),
        (f"---\n---\n{rules(f'key: a, {LIMIT}')}", "2:1", "the first document of the file is empty"),
    ],
)
def test_what_it_refuses(tmp_path: Path, text: str, place: str, says: str) -> None:
    refused, otherwise = found(tmp_path, text)
    assert len(refused) == 1
    assert refused[0].startswith(f"a.yaml:{place}: ")
    assert "refuses the configuration" in refused[0]
    assert says.format(folder=tmp_path) in refused[0]
    assert len(otherwise) == text.count("---") // 2


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        (f"{rules(f'key: a, {LIMIT}')}---\n{rules(f'key: b, {LIMIT}')}", "5:1", "reads only the first document"),
        (rules(f"key: a*, {LIMIT}"), "3:6", "`*` in a key for a wildcard, as in `a*`"),
        (
            rules(f"key: path, value: '*', {LIMIT}", f"key: path_prefix, {LIMIT}"),
            "4:5",
            "entries of `path_prefix` for the wildcard `path_*`",
        ),
        (
            rules(f"key: a, value: b_x*, {LIMIT}", f"key: a_b, value: y, {LIMIT}"),
            "4:5",
            "entries of `a_b` for the wildcard `a_b_x*`",
        ),
        (rules(f"key: a, detailed_metric: true, metadata: {{x: 1}}, {LIMIT}"), "3:37", "where `detailed_metric` names"),
        (
            rules(f"key: a, value_to_metric: true, descriptors: [{{key: b, metadata: {{x: 1}}, {LIMIT}}}]"),
            "3:60",
            "where `value_to_metric` names",
        ),
    ],
)
def test_what_it_reads_otherwise(tmp_path: Path, text: str, place: str, says: str) -> None:
    refused, otherwise = found(tmp_path, text)
    assert (refused, len(otherwise)) == ([], 1)
    assert otherwise[0].startswith(f"a.yaml:{place}: ")
    assert says in otherwise[0]


def test_a_domain_in_two_files_needs_a_setting(tmp_path: Path) -> None:
    refused, (otherwise,) = found(tmp_path, rules(f"key: a, {LIMIT}"), rules(f"key: b, {LIMIT}"))
    assert refused == []
    assert otherwise.startswith("b.yaml:1:1: ")
    assert f"MERGE_DOMAIN_CONFIG=true: {tmp_path}/a.yaml has the domain `mesh` too" in otherwise


def test_duplicates_are_found_in_merged_files(tmp_path: Path) -> None:
    (refused,), _ = found(tmp_path, rules(f"key: a, value: b, {LIMIT}"), rules(f"key: a_b, {LIMIT}"))
    assert refused.startswith("b.yaml:3:5: ")


@pytest.mark.parametrize(
    "text",
    [
        rules(f"key: a, value: '1.10', {LIMIT}", f"key: b, value: 110, {LIMIT}", f"key: c, value: 1:30, {LIMIT}"),
        rules(f"key: a, metadata: {{unit_multiplier: 1.5, x: [1.5]}}, {LIMIT}"),
        rules(f"key: path, value: '*', {LIMIT}", f"key: pathology, {LIMIT}", f"key: path, {LIMIT}", "key: pat"),
        rules(f"key: a, value: x*, share_threshold: true, value_to_metric: true, metadata: {{x: 1}}, {LIMIT}"),
        rules(f"key: a, value: x, descriptors: [{{key: b, {LIMIT}}}]", f"key: a_x_b, {LIMIT}"),
    ],
)
def test_what_both_read_alike(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == ([], [])


def test_a_key_that_is_merged_counts(tmp_path: Path) -> None:
    text = f"domain: mesh\ndescriptors:\n  - &one {{key: a, value: 1.5, {LIMIT}}}\n  - {{<<: *one, key: b, value: x}}\n"
    refused, _ = found(tmp_path, text)
    assert [one.partition(" ")[0] for one in refused] == ["a.yaml:3:26:"]


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [")
    assert differences([str(tmp_path / "a.yaml"), str(tmp_path / "none.yaml")], Disk().read) == ((), ())


def test_only_three_keys_are_ours_alone() -> None:
    ours = {name for shape in SHAPES.values() for name, key in shape.keys.items() if not key.replaced_by}
    assert ours - KEYS == {"algorithm", "unit_multiplier", "on_backend_error", "refund_over_limit"}
    assert ours >= KEYS
