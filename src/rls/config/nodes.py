"""YAML text → nodes, which keep the text of every scalar and its place.

PyYAML's own loader would read `010` as 8, `yes` as true and `1:30` as 90, forget where things stood, and take six times
as long; so only its parser, libyaml, is used, event by event. Scalars get their meaning where their key is known
(`scalars.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import yaml
from yaml import events
from yaml.cyaml import CParser

from rls.config.syntax import explain
from rls.errors import ConfigError, Place, Problem

STR_TAG = "tag:yaml.org,2002:str"
MAX_DEPTH = 200
MAX_ALIASED_NODES = 1_000_000


class Scalar(NamedTuple):
    """Text as it is written, unescaped; *tag* is None where it is plain and its form decides what it means."""

    text: str
    tag: str | None
    line: int
    column: int


class Sequence:
    """A list; *size* and *height* of its tree count what aliases repeat."""

    __slots__ = ("column", "height", "items", "line", "size")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.items: list[Node] = []
        self.size = 1
        self.height = 0  # 0 until it is complete


class Mapping:
    """Keys and values in their order; keys may repeat. *size* and *height* as in `Sequence`."""

    __slots__ = ("column", "height", "items", "line", "size")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.items: list[tuple[Node, Node]] = []
        self.size = 1
        self.height = 0


Node: TypeAlias = Scalar | Sequence | Mapping


def parse(file: str, text: bytes) -> Iterator[Node]:
    """The documents of *text*, one by one; *file* names it in errors.

    Raises:
        ConfigError: It is no YAML, or nests or repeats without bounds.
    """
    try:
        yield from _Composer(file, text).documents()
    except yaml.YAMLError as error:
        raise ConfigError((explain(file, text, error),)) from None


class _Composer:
    """Builds nodes from events, without recursion: what is nested deeply must not exhaust the stack."""

    def __init__(self, file: str, text: bytes) -> None:
        self._file = file
        self._parser = CParser(text)
        self._anchors: dict[str, Node] = {}
        self._aliased = 0

    def documents(self) -> Iterator[Node]:
        while (event := self._parser.get_event()) is not None:
            if event.__class__ is events.DocumentStartEvent:
                self._anchors = {}
                yield self._document()

    def _document(self) -> Node:
        root = Sequence(1, 1)
        open_nodes: list[Sequence | Mapping] = []
        parent: Sequence | Mapping = root
        key: Node | None = None  # of the mapping that is open, when its value is to come
        keys: list[Node | None] = []
        get_event = self._parser.get_event
        while True:
            event = get_event()
            kind = event.__class__
            node: Node
            if kind is events.ScalarEvent:
                mark = event.start_mark
                tag = event.tag or (None if event.implicit[0] else STR_TAG)
                node = Scalar(event.value, tag, mark.line + 1, mark.column + 1)
                if event.anchor is not None:
                    self._anchors[event.anchor] = node
                parent.size += 1
            elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
                node = parent
                parent, key = open_nodes.pop(), keys.pop()
                node.height = max(node.height, 1)
                parent.size += node.size
                parent.height = max(parent.height, node.height + 1)
            elif kind is events.MappingStartEvent or kind is events.SequenceStartEvent:
                open_nodes.append(parent)
                keys.append(key)
                mark = event.start_mark
                new = Mapping if kind is events.MappingStartEvent else Sequence
                parent, key = new(mark.line + 1, mark.column + 1), None
                if event.anchor is not None:
                    self._anchors[event.anchor] = parent
                if len(open_nodes) > MAX_DEPTH:
                    raise self._error(event, f"nested deeper than {MAX_DEPTH} levels, expected fewer")
                continue
            elif kind is events.AliasEvent:
                node = self._alias(event, parent, [*open_nodes, parent])
            else:
                return root.items[0]
            if isinstance(parent, Sequence):
                parent.items.append(node)
            elif key is None:
                key = node
            else:
                parent.items.append((key, node))
                key = None

    def _alias(self, event: events.AliasEvent, parent: Sequence | Mapping, open_nodes: list[Sequence | Mapping]) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._error(event, f"unknown anchor `{event.anchor}`, expected one that stands further up in the document")
        if isinstance(node, Scalar):
            parent.size += 1
            return node
        if node in open_nodes:
            raise self._error(event, f"anchor `{event.anchor}` holds itself, expected an alias outside of it")
        self._aliased += node.size
        if self._aliased > MAX_ALIASED_NODES:
            raise self._error(event, f"aliases repeat more than {MAX_ALIASED_NODES} values, expected fewer")
        if len(open_nodes) + node.height > MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels, expected fewer")
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        return node

    def _error(self, event: events.Event, message: str) -> ConfigError:
        mark = event.start_mark
        return ConfigError((Problem(Place(self._file, mark.line + 1, mark.column + 1), message),))
