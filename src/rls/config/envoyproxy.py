"""What envoyproxy/ratelimit, at f2fb157, makes of files that are valid here: what it refuses, and what it reads otherwise.

docs/migration.md tells of these differences. One thing cannot be seen in a file: a wildcard there also takes entries of keys
that no rule names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

from rls.config import nodes
from rls.config.nodes import Scalar, YamlMapping, YamlNode, parse
from rls.config.reader import shorten
from rls.config.scalars import NULL, WrongTagError, as_text, resolve
from rls.config.schema import SHAPES, FieldType
from rls.core.model import Entry
from rls.errors import ConfigError, Diagnostic, SourceLocation

NAME = "envoyproxy/ratelimit"
KEYS = frozenset(
    (
        *(
            "domain",
            "key",
            "value",
            "descriptors",
            "rate_limit",
            "unit",
            "requests_per_unit",
            "unlimited",
            "shadow_mode",
        ),
        *("quota_mode", "name", "replaces", "detailed_metric", "value_to_metric", "share_threshold", "metadata"),
    )
)
"""All keys that it knows; it refuses a configuration with any other."""
_OURS = {name for shape in SHAPES.values() for name in shape.keys} - KEYS
_TEXTS = {name for shape in SHAPES.values() for name, key in shape.keys.items() if key.kind is FieldType.TEXT}
_REFUSES = f"{NAME} refuses the configuration"

_Keys: TypeAlias = dict[str, tuple[Scalar, YamlNode]]


class Differences(NamedTuple):
    """What differs, by place: *refused* there, or *otherwise* read."""

    refused: tuple[Diagnostic, ...]
    otherwise: tuple[Diagnostic, ...]


def differences(files: Iterable[str], read: Callable[[str], bytes]) -> Differences:
    """Compare *files*, all of one configuration; those that *read* raises OSError for, or that are no YAML, are left out."""
    comparer = _Comparer()
    for file in files:
        try:
            documents = [*parse(file, read(file))]
        except (OSError, ConfigError):
            continue
        comparer.file(file, documents)
    return Differences(tuple(sorted(comparer.refused)), tuple(sorted(comparer.otherwise)))


class _Descriptor(NamedTuple):
    keys: _Keys
    entry: Entry
    place: SourceLocation

    @property
    def text(self) -> str:
        """What it knows the descriptor by."""
        return f"{self.entry.key}_{self.entry.value}" if self.entry.value else self.entry.key


class _Comparer:
    """Compares file by file.

    Attributes:
        refused: What it refuses.
        otherwise: What it reads otherwise.
    """

    def __init__(self) -> None:
        self.refused: list[Diagnostic] = []
        self.otherwise: list[Diagnostic] = []
        self._file = ""
        self._domains: dict[str, SourceLocation] = {}
        self._tops: dict[str, dict[str, _Descriptor]] = {}

    def file(self, file: str, documents: Sequence[YamlNode]) -> None:
        """Compare the *documents* of *file*."""
        self._file = file
        for document in documents[1:]:
            message = f"{NAME} reads only the first document of a file: this one has no effect there"
            self.otherwise.append(Diagnostic(self._place(document), message))
        if not documents:
            return
        first = documents[0]
        if isinstance(first, YamlMapping):
            self._document(first)
        elif len(documents) > 1 and isinstance(first, Scalar) and first.text in NULL:
            message = (
                f"the first document of the file is empty: {NAME} reads only this one, so it refuses the configuration"
            )
            self.refused.append(Diagnostic(self._place(first), message))

    def _document(self, document: YamlMapping) -> None:
        keys = self._keys(document)
        domain, place = _text(keys, "domain"), self._place(document)
        other = self._domains.setdefault(domain, place)
        if other is not place:
            message = f"{_REFUSES} unless MERGE_DOMAIN_CONFIG=true: {other.file} has the domain `{shorten(domain)}` too"
            self.otherwise.append(Diagnostic(place, message))
        self._descriptors(keys, self._tops.setdefault(domain, {}), renamed=False)

    def _descriptors(self, parent: _Keys, seen: dict[str, _Descriptor], *, renamed: bool) -> None:
        """Compare what stands below *parent*; *renamed*: whether values are a part of its metric labels there."""
        _, items = parent.get("descriptors", (None, None))
        if not isinstance(items, nodes.YamlSequence):
            return
        siblings = []
        for item in items.items:
            if isinstance(item, YamlMapping):
                keys = self._keys(item)
                entry = Entry(_text(keys, "key"), _text(keys, "value"))
                siblings.append(_Descriptor(keys, entry, self._place(item)))
        for one in siblings:
            self._descriptor(one, seen, renamed=renamed)
        self._wildcards(siblings)

    def _descriptor(self, one: _Descriptor, seen: dict[str, _Descriptor], *, renamed: bool) -> None:
        first = seen.setdefault(one.text, one)
        if first.entry != one.entry:
            same = f"it calls this descriptor and that at {first.place} `{shorten(one.text)}`"
            self.refused.append(Diagnostic(one.place, f"{_REFUSES}: {same}"))
        key, value = one.entry
        if "*" in key:
            message = f"{NAME} takes `*` in a key for a wildcard, as in `{shorten(one.text)}`"
            self.otherwise.append(Diagnostic(self._place(one.keys["key"][0]), message))
        keys = one.keys
        any_value = not value or "*" in value
        if any_value and _flag(keys, "value_to_metric") and not _flag(keys, "share_threshold"):
            renamed = True
        detailed = _flag(keys, "detailed_metric") and "descriptors" not in keys
        if "metadata" in keys and "rate_limit" in keys and (renamed or detailed):
            cause = "detailed_metric" if detailed else "value_to_metric"
            message = f"{NAME} does not return this `metadata`: it loses it where `{cause}` names the metric"
            self.otherwise.append(Diagnostic(self._place(keys["metadata"][0]), message))
        if "rate_limit" in keys and isinstance(keys["rate_limit"][1], YamlMapping):
            self._rate_limit(keys["rate_limit"][1])
        self._descriptors(keys, {}, renamed=renamed)

    def _rate_limit(self, limit: YamlMapping) -> None:
        _, replaces = self._keys(limit).get("replaces", (None, None))
        for item in replaces.items if isinstance(replaces, nodes.YamlSequence) else ():
            if isinstance(item, YamlMapping):
                self._keys(item)

    def _wildcards(self, siblings: Sequence[_Descriptor]) -> None:
        """Find the keys whose entries a wildcard of another key takes: it matches key and value in one."""
        begun_by: dict[str, list[_Descriptor]] = {}  # by the text before the first `*`
        begun_with: dict[str, list[_Descriptor]] = {}  # by each part of that text which ends in `_`, as a key does
        for one in siblings:
            if "*" in one.entry.value:
                begins, _, _ = one.text.partition("*")
                begun_by.setdefault(begins, []).append(one)
                for end in [i + 1 for i, char in enumerate(begins) if char == "_"]:
                    begun_with.setdefault(begins[:end], []).append(one)
        if not begun_by:
            return
        for key, one in {one.entry.key: one for one in reversed(siblings)}.items():
            text = f"{key}_"
            alike = chain(begun_with.get(text, ()), *(begun_by.get(text[:end], ()) for end in range(len(text) + 1)))
            wildcard = next((other for other in alike if other.entry.key != key), None)
            if wildcard is not None:
                at = f"`{shorten(wildcard.text)}` at {wildcard.place}"
                message = f"{NAME} may take entries of `{shorten(key)}` for the wildcard {at}, which begins alike"
                self.otherwise.append(Diagnostic(one.place, message))

    def _keys(self, mapping: YamlMapping) -> _Keys:
        """The keys of *mapping* that count, each with its value; what it refuses of them is noted."""
        keys = _counting(mapping)
        for name, (key, node) in keys.items():
            if name in _OURS:
                self.refused.append(Diagnostic(self._place(key), f"{_REFUSES}: it does not know `{name}`"))
            elif name in _TEXTS and isinstance(node, Scalar) and _is_odd_number(node):
                message = f"{_REFUSES}: `{shorten(node.text)}` is a number to it, expected quotes around it"
                self.refused.append(Diagnostic(self._place(node), message))
        return keys

    def _place(self, node: YamlNode) -> SourceLocation:
        return SourceLocation(self._file, node.line, node.column)


def _counting(mapping: YamlMapping) -> _Keys:
    """The keys of *mapping* that are not null; the last of equal ones counts, and what `<<` brings stands where `<<` does."""
    keys: _Keys = {}
    for key, node in mapping.items:
        if not isinstance(key, Scalar):
            continue
        if key.text == "<<" and key.tag is None:
            sources = node.items[::-1] if isinstance(node, nodes.YamlSequence) else [node]
            for source in sources:
                if isinstance(source, YamlMapping):
                    keys |= _counting(source)
        elif isinstance(node, Scalar) and node.tag is None and node.text in NULL:
            keys.pop(key.text, None)
            if key.text in _OURS:
                keys[key.text] = key, node
        else:
            keys[key.text] = key, node
    return keys


def _text(keys: _Keys, name: str) -> str:
    _, node = keys.get(name, (None, None))
    try:
        return as_text(node) if isinstance(node, Scalar) else ""
    except WrongTagError:
        return ""


def _flag(keys: _Keys, name: str) -> bool:
    _, node = keys.get(name, (None, None))
    return isinstance(node, Scalar) and _value(node) is True


def _is_odd_number(node: Scalar) -> bool:
    """Whether it is a number that is no int64: its check of keys knows no other kind."""
    value = _value(node)
    return isinstance(value, float) or (type(value) is int and value >= 2**63)


def _value(node: Scalar) -> bool | int | float | str | None:
    try:
        return resolve(node)
    except WrongTagError:
        return None
