"""YAML text → nodes, which keep the text of every scalar and its place.

PyYAML's own loader would read `010` as 8, `yes` as true and `1:30` as 90, forget where things stood, and take six times
as long; so only its parser, libyaml, is used, event by event. Scalars get their meaning where their key is known
(`scalars.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias

import yaml
from yaml import events

from rls.config.syntax import explain
from rls.errors import ConfigError, Diagnostic, SourceLocation

STR_TAG = "tag:yaml.org,2002:str"
MAX_DEPTH = 200
MAX_ALIASED_NODES = 1_000_000
_STEP = 20
"""Mappings and lists of one step."""


class Scalar(NamedTuple):
    """Text as it is written, unescaped; *tag* is None where it is plain and its form decides what it means."""

    text: str
    tag: str | None
    line: int
    column: int


class YamlSequence:
    """A list; *size* and *height* of its tree count what aliases repeat."""

    __slots__ = ("column", "height", "items", "line", "size")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.items: list[YamlNode] = []
        self.size = 1
        self.height = 1


class YamlMapping:
    """Keys and values in their order; keys may repeat. *size* and *height* as in `YamlSequence`."""

    __slots__ = ("column", "height", "items", "line", "size")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.items: list[tuple[YamlNode, YamlNode]] = []
        self.size = 1
        self.height = 1


YamlNode: TypeAlias = Scalar | YamlSequence | YamlMapping


def parse(file: str, text: bytes) -> Iterator[YamlNode]:
    """The documents of *text*, one by one; *file* names it in errors.

    Raises:
        ConfigError: It is no YAML, or nests or repeats without bounds.
    """
    return (node for node in parse_in_steps(file, text) if node is not None)


def parse_in_steps(file: str, text: bytes) -> Iterator[YamlNode | None]:
    """As `parse`, with None after every few events, so that the caller can do something else.

    Raises:
        ConfigError: As `parse`.
    """
    try:
        yield from _Composer(file, text).documents()
    except yaml.YAMLError as error:
        raise ConfigError((explain(file, text, error),)) from None


class _Composer:
    """Builds nodes from events, without recursion: what is nested deeply must not exhaust the stack."""

    def __init__(self, file: str, text: bytes) -> None:
        self._file = file
        # Any: the stubs of its events leave open what is always there.
        self._next: Callable[[], Any] = yaml.CBaseLoader(text).get_event
        self._anchors: dict[str, YamlNode] = {}
        self._open: list[YamlSequence | YamlMapping] = []
        self._aliased = 0

    def documents(self) -> Iterator[YamlNode | None]:
        while (event := self._next()) is not None:
            if event.__class__ is events.DocumentStartEvent:
                self._anchors = {}
                yield (yield from self._document())

    def _document(self) -> Generator[None, None, YamlNode]:
        parent: YamlSequence | YamlMapping = YamlSequence(1, 1)
        key: YamlNode | None = None  # of *parent*, where the value is still to come
        keys: list[YamlNode | None] = []
        ended = 0
        while True:
            event = self._next()
            kind = event.__class__
            node: YamlNode
            if kind is events.ScalarEvent:
                mark = event.start_mark
                tag = event.tag or (None if event.implicit[0] else STR_TAG)
                node = Scalar(event.value, tag, mark.line + 1, mark.column + 1)
                if event.anchor is not None:
                    self._anchors[event.anchor] = node
                parent.size += 1
            elif kind is events.MappingStartEvent or kind is events.SequenceStartEvent:
                self._open.append(parent)
                keys.append(key)
                parent, key = self._collection(event), None
                continue
            elif kind is events.AliasEvent:
                node = self._alias(event, parent)
            elif kind is events.DocumentEndEvent:
                break
            else:  # the end of a mapping or a list
                node = parent
                parent, key = self._open.pop(), keys.pop()
                self._account(node, parent)
                ended += 1
                if ended % _STEP == 0:
                    yield
            if isinstance(parent, YamlSequence):
                parent.items.append(node)
            elif key is None:
                key = node
            else:
                parent.items.append((key, node))
                key = None
        assert isinstance(parent, YamlSequence)
        return parent.items[0]

    def _collection(self, event: Any) -> YamlSequence | YamlMapping:
        if len(self._open) > MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels, expected fewer")
        mark = event.start_mark
        new = YamlMapping if event.__class__ is events.MappingStartEvent else YamlSequence
        collection = new(mark.line + 1, mark.column + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = collection
        return collection

    def _alias(self, event: Any, parent: YamlSequence | YamlMapping) -> YamlNode:
        name = event.anchor
        node = self._anchors.get(name)
        if node is None:
            raise self._error(
                event,
                f"unknown anchor `{name}`, expected one that stands above, or quotes around a text that begins with `*`",
            )
        if isinstance(node, Scalar):
            return node
        if node is parent or node in self._open:
            raise self._error(event, f"the anchor `{name}` holds itself, expected an alias outside of it")
        self._aliased += node.size
        if self._aliased > MAX_ALIASED_NODES:
            raise self._error(event, f"aliases repeat more than {MAX_ALIASED_NODES} values, expected fewer")
        if len(self._open) + node.height > MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels, expected fewer")
        self._account(node, parent)
        return node

    def _account(self, node: YamlSequence | YamlMapping, parent: YamlSequence | YamlMapping) -> None:
        parent.size += node.size
        if parent.height <= node.height:
            parent.height = node.height + 1

    def _error(self, event: Any, message: str) -> ConfigError:
        mark = event.start_mark
        return ConfigError((Diagnostic(SourceLocation(self._file, mark.line + 1, mark.column + 1), message),))
