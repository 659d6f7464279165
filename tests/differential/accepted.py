"""Which configurations both servers take, where they may disagree, and what they read in those that both take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import yaml

from rls.config import nodes
from rls.config.compile import compile_file
from rls.config.envoyproxy import differences
from rls.config.nodes import Scalar, YamlNode, YamlSequence, parse
from rls.config.scalars import resolve
from rls.config.schema import SHAPES, FieldType
from rls.core.rules import Domain, Rule
from rls.errors import Diagnostic
from rls.sources.disk import Disk
from rls.sources.load import load
from tests.differential.reference import refusal

Files: TypeAlias = Mapping[str, str]


class Allowed(NamedTuple):
    """A difference that is meant: *row* of the table in docs/migration.md, and how it is told from those that are not."""

    row: str
    says: str
    holds: Callable[[Files], bool] = lambda _: True


def _fraction_for_text(files: Files) -> bool:
    """Whether a number that is no int64 stands where there is to be text."""
    return any(_has_fraction(node, "") for documents in _documents(files) for node in documents)


def _has_fraction(node: YamlNode, key: str) -> bool:
    if isinstance(node, nodes.YamlMapping):
        return any(_has_fraction(value, name.text) for name, value in node.items if isinstance(name, Scalar))
    if isinstance(node, YamlSequence):
        return any(_has_fraction(item, "") for item in node.items)
    value = resolve(node) if key in TEXTS else None
    return isinstance(value, float) or (type(value) is int and value >= 2**63)


def _first_is_empty(files: Files) -> bool:
    """Whether there is a file whose first document is empty, and not its last."""
    return any(
        len(documents) > 1 and isinstance(documents[0], Scalar) and not documents[0].text
        for documents in _documents(files)
    )


def _documents(files: Files) -> list[list[YamlNode]]:
    return [[*parse(name, text.encode())] for name, text in files.items()]


TEXTS = [name for shape in SHAPES.values() for name, key in shape.keys.items() if key.kind is FieldType.TEXT]
REFUSED_HERE = (
    Allowed("a key in the wrong place", "^`.*` stands .*, expected it "),
    Allowed("a key in the wrong place", "^unknown key "),
    Allowed("`requests_per_unit` missing", "^the rate limit has no `requests_per_unit`"),
)
"""What only `rls` refuses, by its messages; and whatever is wrong behind a file's first document."""

REFUSED_THERE = (
    Allowed("`*` in a `value` | matches across the border of key and value", "^.*: duplicate descriptor composite key"),
    Allowed("numbers with a fraction as `value`", "^.*: error checking config", _fraction_for_text),
    Allowed("several documents in a file", "^.*: config file cannot have empty domain", _first_is_empty),
)
"""What only the reference refuses, by its reason."""


class Verdict(NamedTuple):
    """Whether both agree on a configuration.

    Attributes:
        kind: For statistics.
        difference: What should not differ; "" where all is as it should be.
    """

    kind: str
    difference: str = ""


def verdict(directory: Path) -> Verdict:
    """What both say of the files of *directory*."""
    files = {path.name: path.read_bytes().decode() for path in directory.iterdir()}
    theirs = refusal(directory)
    loaded = load([directory])
    problems = loaded.diagnostics
    foretold = differences(loaded.files, Disk().read).refused
    if not problems and bool(foretold) != bool(theirs):
        return Verdict(
            "", f"`rls check --for envoyproxy` says {[*map(str, foretold)]}, the reference {theirs or 'nothing'}"
        )
    if bool(theirs) == bool(problems):
        return Verdict("refused by both" if theirs else "taken by both")
    if theirs:
        row = _row(REFUSED_THERE, theirs, files)
        return Verdict(row, "" if row else f"only the reference refuses it: {theirs}")
    rows = {problem: _row(REFUSED_HERE, problem.message, files) or _behind_first(problem) for problem in problems}
    odd = "\n".join(str(problem) for problem, row in rows.items() if not row)
    return Verdict(rows[problems[0]], f"only rls refuses it:\n{odd}" if odd else "")


def _row(allowed: tuple[Allowed, ...], said: str, files: Files) -> str:
    return next((known.row for known in allowed if re.search(known.says, said) and known.holds(files)), "")


def _behind_first(problem: Diagnostic) -> str:
    """A row where *problem* stands behind the first document of its file, the only one that the reference reads."""
    end = 0
    try:
        for event in yaml.parse(Path(problem.place.file).read_bytes(), Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.DocumentStartEvent) and end:
                break
            if isinstance(event, yaml.DocumentEndEvent) and event.start_mark is not None:
                end = event.start_mark.line + 1
        else:
            return ""  # there is nothing behind it
    except yaml.YAMLError:
        pass
    return "several documents in a file" if end and problem.place.line >= end else ""


def rules_of(directory: Path) -> list[str] | None:
    """The rules of each file's first document, as the reference lists them; None where something is wrong with them."""
    if load([directory]).diagnostics:
        return None
    return sorted(_listed(rule) for path in directory.iterdir() for rule in _rules(path))


def _rules(path: Path) -> Iterator[Rule]:
    document = compile_file(str(path), path.read_bytes()).documents[0]
    return Domain(document.domain, document.root).rules()


def _listed(rule: Rule) -> str:
    limit = rule.limit
    size = (
        f"unit={limit.unit.name} requests_per_unit={limit.requests_per_unit}"
        if limit
        else "unit=UNKNOWN requests_per_unit=0"
    )
    flags = f"shadow_mode: {rule.shadow_mode}, quota_mode: {rule.quota_mode}".lower()
    return f"{rule.domain}.{rule.path}: {size}, {flags}"
