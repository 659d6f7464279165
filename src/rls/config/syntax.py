"""libyaml's errors → where they are, what is wrong and what was expected."""

from __future__ import annotations

import re

import yaml
from yaml.reader import ReaderError

from rls.errors import Diagnostic, SourceLocation
from rls.file_kinds import binary_kind

_ONE_COLUMN = "expected the keys of a mapping in one column"
_TAB = "a tab, expected spaces: YAML does not take tabs here"
_SIGIL = "a `%s` without quotes is no text in YAML, expected quotes around the value"

# What libyaml says, and the character that it stopped at where that tells more → what it means for who wrote the file.
_MEANINGS = {
    ("mapping values are not allowed in this context", ""): (
        f"a `:` where no key can be, expected quotes around a text with `: `, and {_ONE_COLUMN.removeprefix('expected ')}"
    ),
    ("did not find expected key", "-"): "a `-` among keys, expected `key: value`, or the items of a list in one column",
    ("did not find expected key", ""): f"wrong indentation, {_ONE_COLUMN}",
    ("did not find expected '-' indicator", ""): (
        "wrong indentation, expected the items of a list in one column, and the keys of an item in one column"
    ),
    ("block mapping keys are not allowed in this context", ""): f"a key where none can be, {_ONE_COLUMN}",
    ("block sequence entries are not allowed in this context", ""): (
        "a `-` where no list can be, expected it on a line of its own below the key"
    ),
    ("could not find expected ':'", ""): "a key without `:`, expected `key: value`",
    ("did not find expected ',' or ']'", ""): "a list in brackets goes wrong here, expected `,` or `]`",
    ("did not find expected ',' or '}'", ""): "a mapping in braces goes wrong here, expected `,` or `}`",
    ("did not find expected node content", ""): "nothing where a value must be, expected one",
    ("found unexpected end of stream", ""): "a quote that is not closed, expected its end",
    ("found unexpected document indicator", ""): "a quote that is not closed, expected its end",
    ("found character that cannot start any token", "\t"): _TAB,
    ("found character that cannot start any token", "`"): (
        "a value cannot begin with a backtick, expected quotes around it"
    ),
    ("found unknown escape character", ""): "an unknown escape in double quotes, expected two backslashes for one",
    ("found undefined tag handle", ""): "an unknown tag, expected quotes around a text that begins with `!`",
    ("found incompatible YAML document", ""): "an unknown version of YAML, expected 1.1 or 1.2",
    ("did not find expected <document start>", ""): "text after the end of the document, expected `---` before it",
    ("control characters are not allowed", ""): "a control character, expected printable text",
}
# Of these, the place that tells most is where the construct begins.
_FROM_BEGINNING = (
    "could not find expected ':'",
    "found unexpected end of stream",
    "found unexpected document indicator",
    "did not find expected alphabetic or numeric character",
)
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What begins a new line for libyaml, whose marks count them."""
_TEMPLATE = re.compile(r"\{\{|\$\{")
_NOT_CLOSED = {
    "did not find expected ',' or ']'": "a list in brackets that is not closed, expected `]`",
    "did not find expected ',' or '}'": "a mapping in braces that is not closed, expected `}`",
}


def explain(file: str, text: bytes, error: yaml.YAMLError) -> Diagnostic:
    """What *error*, which libyaml found in *text*, means."""
    if isinstance(error, ReaderError):
        return _unreadable(file, text, error)
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return Diagnostic(SourceLocation(file, 1, 1), f"no YAML ({error}), expected YAML")
    lines = _BREAK.split(_decoded(text))
    line = lines[mark.line] if mark.line < len(lines) else ""
    said = error.problem or ""
    message = _MEANINGS.get((said, line[mark.column : mark.column + 1])) or _MEANINGS.get((said, ""))
    begun = error.context_mark
    if said in _NOT_CLOSED and begun is not None and not "".join(lines[mark.line :])[mark.column :].strip():
        mark, message = begun, _NOT_CLOSED[said]
    elif said in _FROM_BEGINNING and begun is not None:
        mark = begun
        if message is None:  # of an alias or an anchor
            message = _SIGIL % lines[mark.line][mark.column]
    elif said == "found character that cannot start any token" and message is None:
        message = f"a value cannot begin with `{line[mark.column]}`, expected quotes around it"
    column = mark.column
    template = _TEMPLATE.search(line)
    if template is not None and template.start() <= mark.column:
        column, message = template.start(), "a template that nothing has filled in, expected the text that it renders"
    indentation = line[: len(line) - len(line.lstrip())]
    if "\t" in indentation and mark is error.problem_mark:
        # libyaml stumbles further to the right, over what the tab made of the line.
        column, message = indentation.index("\t"), _TAB
    return Diagnostic(SourceLocation(file, mark.line + 1, column + 1), message or f"no YAML ({said}), expected YAML")


def _unreadable(file: str, text: bytes, error: ReaderError) -> Diagnostic:
    position = error.position if isinstance(error.position, int) else 0
    before = _decoded(text[:position])
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    said = str(error.reason)
    if not before and (kind := binary_kind(text)):
        message = f"the file is {kind}, expected YAML in UTF-8"
    else:
        message = _MEANINGS.get((said, "")) or f"no text in UTF-8 ({said}), expected UTF-8"
    return Diagnostic(SourceLocation(file, line, column), message)


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace").removeprefix("\ufeff")
