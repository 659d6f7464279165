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
    """A list; *size* and *height* of its tree count what aliases repeat. *is_regular* is for `ItemReader`."""

    __slots__ = ("column", "height", "is_regular", "items", "line", "size")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.items: list[YamlNode] = []
        self.size = 1
        self.height = 1
        self.is_regular = False


class YamlMapping:
    """Keys and values in their order; keys may repeat. The other attributes are as in `YamlSequence`."""

    __slots__ = ("column", "height", "is_regular", "items", "line", "size")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.items: list[tuple[YamlNode, YamlNode]] = []
        self.size = 1
        self.height = 1
        self.is_regular = False


YamlNode: TypeAlias = Scalar | YamlSequence | YamlMapping


class ItemReader(NamedTuple):
    """Reads items of some lists by itself, which is faster than to make nodes of all that they hold.

    The lists stand below *key*, in the document's mapping or in items of such lists. None of these has an anchor: nothing
    else refers to what is read.

    Attributes:
        key: See above.
        read: Takes the first event of an item that is a mapping without an anchor, and what returns the next event.
            Returns a node for the item, after its last event; or the events that it took, for others to read. An item
            that it reads holds no mappings in mappings.
    """

    key: str
    read: Callable[[Any, Callable[[], Any]], YamlMapping | list[Any]]


def parse(file: str, text: bytes) -> Iterator[YamlNode]:
    """The documents of *text*, one by one; *file* names it in errors.

    Raises:
        ConfigError: It is no YAML, or nests or repeats without bounds.
    """
    return (node for node in parse_in_steps(file, text) if node is not None)


def parse_in_steps(file: str, text: bytes, reader: ItemReader | None = None) -> Iterator[YamlNode | None]:
    """As `parse`, with None after every few events, so that the caller can do something else.

    Raises:
        ConfigError: As `parse`.
    """
    try:
        yield from _Composer(file, text, reader).documents()
    except yaml.YAMLError as error:
        raise ConfigError((explain(file, text, error),)) from None


class _Composer:
    """Builds nodes from events, without recursion: what is nested deeply must not exhaust the stack."""

    def __init__(self, file: str, text: bytes, reader: ItemReader | None) -> None:
        self._file = file
        self._reader = reader
        # Any: the stubs of its events leave open what is always there.
        self._next: Callable[[], Any] = yaml.CBaseLoader(text).get_event
        self._anchors: dict[str, YamlNode] = {}
        self._open: list[YamlSequence | YamlMapping] = []
        # Events that the reader of items took and did not use, the next one last.
        self._unused: list[Any] = []
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
        unused, ended = self._unused, 0
        while True:
            event = unused.pop() if unused else self._next()
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
                item = self._item(event, parent)
                if item is None:
                    self._open.append(parent)
                    keys.append(key)
                    parent, key = self._collection(event, parent, key), None
                    continue
                node = item
                ended += 1
            elif kind is events.AliasEvent:
                node = self._alias(event, parent)
            elif kind is events.DocumentEndEvent:
                break
            else:  # the end of a mapping or a list
                node = parent
                parent, key = self._open.pop(), keys.pop()
                self._account(node, parent)
                ended += 1
            if isinstance(parent, YamlSequence):
                parent.items.append(node)
            elif key is None:
                key = node
            else:
                parent.items.append((key, node))
                key = None
            if ended >= _STEP:
                ended = 0
                yield
        assert isinstance(parent, YamlSequence)
        return parent.items[0]

    def _item(self, event: Any, parent: YamlSequence | YamlMapping) -> YamlMapping | None:
        """What the reader of items makes of what begins with *event*; None where that is nothing for it."""
        if self._reader is None or not parent.is_regular or not isinstance(parent, YamlSequence):
            return None
        is_plain = event.__class__ is events.MappingStartEvent and event.anchor is None
        if not is_plain or len(self._open) + 2 > MAX_DEPTH:
            return None
        found = self._reader.read(event, self._next)
        if isinstance(found, YamlMapping):
            return found
        self._unused += reversed(found)
        return None

    def _collection(
        self, event: Any, parent: YamlSequence | YamlMapping, key: YamlNode | None
    ) -> YamlSequence | YamlMapping:
        if len(self._open) > MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels, expected fewer")
        mark = event.start_mark
        new = YamlMapping if event.__class__ is events.MappingStartEvent else YamlSequence
        collection = new(mark.line + 1, mark.column + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = collection
        elif self._reader is not None:
            if new is YamlMapping:
                collection.is_regular = len(self._open) == 1 or (parent.is_regular and isinstance(parent, YamlSequence))
            else:
                collection.is_regular = parent.is_regular and isinstance(key, Scalar) and key.text == self._reader.key
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
