"""libyaml's errors → where they are, what is wrong and what was expected."""

from __future__ import annotations

import yaml
from yaml.reader import ReaderError

from rls.errors import Place, Problem

_INDENTED = "expected keys of one mapping to stand in one column"

# What libyaml says → what it means for who wrote the file.
_PROBLEMS = {
    "mapping values are not allowed in this context": (
        f"`:` stands where no key can be, {_INDENTED}, and a value with `: ` in it to be in quotes"
    ),
    "did not find expected key": f"no key where one was expected: {_INDENTED}",
    "did not find expected '-' indicator": "no `-` where one was expected: items of one list stand in one column",
    "could not find expected ':'": "no `:` after a key, expected `key: value`",
    "did not find expected ',' or ']'": "a list in brackets is not closed, expected `,` or `]`",
    "did not find expected ',' or '}'": "a mapping in braces is not closed, expected `,` or `}`",
    "found unexpected end of stream": "a quote is not closed, expected its end before that of the file",
    "found unexpected document indicator": "a quote is not closed, expected its end before that of the document",
    "did not find expected node content": "nothing where a value was expected",
    "block sequence entries are not allowed in this context": (
        "`-` stands where no list can be, expected it on a line of its own, below the key"
    ),
    "block mapping keys are not allowed in this context": f"a key stands where none can be, {_INDENTED}",
    "found unknown escape character": "unknown escape in double quotes, expected `\\\\` for a backslash",
    "found incompatible YAML document": "this version of YAML is unknown, expected 1.1 or 1.2",
    "did not find expected <document start>": "more text after the document, expected `---` before another one",
    "control characters are not allowed": "a control character, expected printable text",
}
_STARTERS = {
    "\t": "a tab, expected spaces: YAML does not take tabs here",
    "@": "a value cannot begin with `@`, expected it in quotes",
    "`": "a value cannot begin with a backtick, expected it in quotes",
    "%": "a value cannot begin with `%`, expected it in quotes",
}


def explain(file: str, text: bytes, error: yaml.YAMLError) -> Problem:
    """What *error*, which libyaml found in *text*, means."""
    if isinstance(error, ReaderError):
        return _unreadable(file, text, error)
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(Place(file, 1, 1), f"no YAML: {error}")
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(Place(file, 1, 1), f"no YAML: {error.problem}")
    line, column = mark.line + 1, mark.column + 1
    said = error.problem or ""
    if said in ("found unexpected end of stream", "found unexpected document indicator") and error.context_mark:
        line, column = error.context_mark.line + 1, error.context_mark.column + 1  # where the quote begins
    message = _PROBLEMS.get(said)
    if said == "found character that cannot start any token":
        message = _STARTERS.get(_character(text, line, column))
    elif _indented_with_tab(text, line):
        # libyaml stumbles further to the right, over what the tab made of the line.
        message, column = _STARTERS["\t"], _tab(text, line)
    return Problem(Place(file, line, column), message or f"no YAML: {said}")


def _unreadable(file: str, text: bytes, error: ReaderError) -> Problem:
    position = error.position if isinstance(error.position, int) else 0
    before = text[:position].decode("utf-8", "replace").removeprefix("\ufeff")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    said = str(error.reason)
    return Problem(Place(file, line, column), _PROBLEMS.get(said) or f"not UTF-8 ({said}), expected text")


def _line(text: bytes, number: int) -> str:
    lines = text.decode("utf-8", "replace").removeprefix("\ufeff").split("\n")
    return lines[number - 1] if number <= len(lines) else ""


def _character(text: bytes, line: int, column: int) -> str:
    return _line(text, line)[column - 1 : column]


def _indented_with_tab(text: bytes, line: int) -> bool:
    content = _line(text, line)
    return "\t" in content[: len(content) - len(content.lstrip())]


def _tab(text: bytes, line: int) -> int:
    return _line(text, line).index("\t") + 1
