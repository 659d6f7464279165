"""One file's documents → tries of rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from rls.config import lint
from rls.config.foreign import foreign
from rls.config.intent import doubts
from rls.config.limits import on_backend_error, rate_limit
from rls.config.nodes import Scalar, YamlMapping, YamlNode, YamlSequence, parse_in_steps
from rls.config.plain import PLAIN_DESCRIPTORS, PlainDescriptor
from rls.config.reader import Fields, Reader, describe, shorten
from rls.config.scalars import NULL
from rls.config.schema import DESCRIPTOR, DOCUMENT, REPLACED
from rls.core.model import Entry
from rls.core.rules import NO_CHILDREN, Rule, TrieNode, Wildcard
from rls.errors import ConfigError, Diagnostic, SourceLocation
from rls.slices import Steps, finish

_STEP = 10
"""Descriptors of one step."""


class Document(NamedTuple):
    """One document's rules.

    Attributes:
        domain: Domain that they belong to.
        root: Top level of its trie.
        named: Its rules that have a name or replace others.
        replaced: Each name that `replaces` holds, and where.
        refund_over_limit: Its `refund_over_limit`, and where that stands; None where it has none.
    """

    domain: str
    root: TrieNode
    named: tuple[Rule, ...]
    replaced: tuple[tuple[str, SourceLocation], ...]
    refund_over_limit: tuple[bool, SourceLocation] | None = None


class Compiled(NamedTuple):
    """What one file comes to; no documents where there are diagnostics."""

    documents: tuple[Document, ...]
    diagnostics: tuple[Diagnostic, ...]
    warnings: tuple[Diagnostic, ...]


Take: TypeAlias = Callable[[str, TrieNode], None]
"""Given the domain of a document, and the top level of its trie with descriptors that are complete. It may take them away.

Called again and again for one document, once at least, also where mistakes are found later.
"""


def compile_file(file: str, text: bytes) -> Compiled:
    """Compile the YAML *text* of *file*."""
    return finish(compile_in_steps(file, text))


def compile_in_steps(file: str, text: bytes, take: Take = lambda _, __: None) -> Steps[Compiled]:
    """As `compile_file`; a step takes a few descriptors, half a millisecond or so. *take* gets rules as they come."""
    compiler = _Compiler(file, take)
    documents: list[Document] = []
    mistakes = compiler.reader.diagnostics
    try:
        for node in parse_in_steps(file, text, PLAIN_DESCRIPTORS):
            if node is None:
                yield
            elif not _is_empty(node):
                documents.append((yield from compiler.document(node)))
    except ConfigError as error:
        mistakes.extend(error.diagnostics)
    if not documents and not mistakes:
        mistakes.append(Diagnostic(SourceLocation(file, 1, 1), "the file holds no document, expected `domain: …`"))
    return Compiled(() if mistakes else tuple(documents), tuple(mistakes), tuple(compiler.reader.warnings))


def duplicate(node: TrieNode, first: SourceLocation) -> Diagnostic:
    """That *node* says the same as the descriptor at *first*."""
    return Diagnostic(place_of(node), f"duplicate descriptor `{node.text}`, expected one: the first stands at {first}")


def _is_empty(node: YamlNode) -> bool:
    return isinstance(node, Scalar) and node.tag is None and node.text in NULL


def place_of(node: TrieNode) -> SourceLocation:
    """Where *node* stands; only the top of a trie has no place."""
    return node.place or SourceLocation("", 1, 1)


class _Compiler:
    """Compiles the documents of one file; what is wrong goes to its reader."""

    def __init__(self, file: str, take: Take) -> None:
        self.reader = Reader(file)
        self._take = take
        self._file = file
        self._domain = ""
        self._root = TrieNode()
        self._named: list[Rule] = []
        self._replaced: list[tuple[str, SourceLocation]] = []
        # By domain, so that two documents of one domain are seen to say the same.
        self._tops: dict[str, dict[Entry, SourceLocation]] = {}

    def document(self, node: YamlNode) -> Steps[Document]:
        """The rules of one document."""
        self._named, self._replaced = [], []
        self._root = root = TrieNode()
        other = foreign(node)
        if other is not None:
            self.reader.error(*other)
            return Document("", root, (), ())
        if not isinstance(node, YamlMapping):
            self.reader.error(node, f"the document is {describe(node)}, expected `domain: …` and `descriptors: …`")
            return Document("", root, (), ())
        fields = self.reader.fields(DOCUMENT, node)
        self._domain = fields.text("domain")
        self._doubt("domain", fields)
        if fields.lacks("domain"):
            self.reader.error(fields.get("domain", node), "the document has no `domain`, expected `domain: …`")
        items = fields.value("descriptors")
        if items is not None:
            yield from self._descriptors(items, root, "", self._tops.setdefault(self._domain, {}))
        self._take(self._domain, root)
        if fields.lacks("descriptors") or (items is not None and not items.items):
            at = fields.get("descriptors", node)
            self.reader.warn(at, "the document has no `descriptors`, so it limits nothing")
        return Document(self._domain, root, tuple(self._named), tuple(self._replaced), self._refund(fields))

    def _refund(self, fields: Fields) -> tuple[bool, SourceLocation] | None:
        """`refund_over_limit`, or the opposite of `charge_refused`, its old name."""
        found = None
        if isinstance(new := fields.value("refund_over_limit"), bool):
            at = fields["refund_over_limit"]
            found = new, SourceLocation(self._file, at.line, at.column)
        if isinstance(old := fields.value("charge_refused"), bool):
            at = fields["charge_refused"]
            instead = f"`refund_over_limit: {'false' if old else 'true'}`"
            if found is None:
                self.reader.warn(at, f"`charge_refused` is an old name, expected {instead}")
                found = not old, SourceLocation(self._file, at.line, at.column)
            else:
                self.reader.error(
                    at, f"`charge_refused` is an old name of `refund_over_limit`, expected only {instead}"
                )
        return found

    def _descriptors(
        self, items: YamlSequence, parent: TrieNode, path: str, seen: dict[Entry, SourceLocation]
    ) -> Steps[None]:
        for number, item in enumerate(self.reader.mappings("descriptors", items)):
            if isinstance(item, PlainDescriptor):
                self._plain_descriptor(item, parent, path, seen)
            else:
                node, below, children = self._descriptor(item, parent, path, seen)
                if children is not None:
                    yield from self._descriptors(children, node, below, {})
                    self.reader.warnings += yield from lint.unreachable(node)
                    self.reader.warnings += yield from lint.hidden(node)
            if number % _STEP == 0:
                if parent is self._root:
                    self._take(self._domain, parent)
                yield

    def _descriptor(
        self, item: YamlMapping, parent: TrieNode, path: str, seen: dict[Entry, SourceLocation]
    ) -> tuple[TrieNode, str, YamlSequence | None]:
        """Compile one descriptor without those below it; returns its node, its path and the list of those below it."""
        fields = self.reader.fields(DESCRIPTOR, item)
        key, value = fields.text("key"), fields.text("value")
        self._doubt("key", fields)
        self._doubt("value", fields)
        if fields.lacks("key"):
            self.reader.error(fields.get("key", item), "the descriptor has no `key`, expected `key: …`")
        node = TrieNode(f"{key}_{value}" if value else key, place=SourceLocation(self._file, item.line, item.column))
        path = f"{path}.{node.text}" if path else node.text
        node.share_threshold = fields.flag("share_threshold")
        node.value_to_metric = fields.flag("value_to_metric")
        if node.share_threshold and "*" not in value and "*" not in key:
            written = f"on the value `{shorten(value)}`" if value else "without a `value`"
            self.reader.error(fields["share_threshold"], f"`share_threshold` {written}, expected a value with `*`")
        if key:
            self._add(Entry(key, value), node, parent, seen)
        limit = fields.value("rate_limit")
        if limit is not None:
            node.rule = self._rule(fields, limit, path, place_of(node))
        children = fields.value("descriptors")
        for name, message in lint.idle(
            fields, has_limit=limit is not None, has_children=bool(children and children.items)
        ):
            self.reader.warn(fields[name], message)
        return node, path, children

    def _plain_descriptor(
        self, item: PlainDescriptor, parent: TrieNode, path: str, seen: dict[Entry, SourceLocation]
    ) -> None:
        """As `_descriptor`, where nothing is to be said."""
        key, value = item.entry
        text = f"{key}_{value}" if value else key
        place = SourceLocation(self._file, item.line, item.column)
        rule = Rule(self._domain, f"{path}.{text}" if path else text, item.limit, place=place)
        self._add(item.entry, TrieNode(text, NO_CHILDREN, NO_CHILDREN, NO_CHILDREN, rule, place=place), parent, seen)

    def _doubt(self, name: str, fields: Fields) -> None:
        for message in doubts(name, fields.text(name)):
            self.reader.warn(fields[name], message)

    def _add(self, entry: Entry, node: TrieNode, parent: TrieNode, seen: dict[Entry, SourceLocation]) -> None:
        place = place_of(node)
        first = seen.setdefault(entry, place)
        if first is not place:
            self.reader.diagnostics.append(duplicate(node, first))
        elif not entry.value:
            parent.defaults[entry.key] = node
        else:
            parent.exact[entry] = node
            if "*" in entry.value:
                parent.wildcards.setdefault(entry.key, []).append((Wildcard.parse(entry.value), node))

    def _rule(self, descriptor: Fields, fields: Fields, path: str, place: SourceLocation) -> Rule:
        name = fields.text("name")
        rule = Rule(
            domain=self._domain,
            path=path,
            limit=rate_limit(self.reader, descriptor, fields, name),
            name=name,
            replaces=self._replaces(fields, name),
            shadow_mode=descriptor.flag("shadow_mode"),
            quota_mode=descriptor.flag("quota_mode"),
            detailed_metric=descriptor.flag("detailed_metric"),
            metadata=descriptor.value("metadata"),
            on_backend_error=on_backend_error(self.reader, descriptor),
            place=place,
        )
        if rule.name or rule.replaces:
            self._named.append(rule)
        for key, message in lint.idle_in_limit(fields):
            self.reader.warn(fields[key], message)
        return rule

    def _replaces(self, fields: Fields, name: str) -> frozenset[str]:
        items = fields.value("replaces")
        names = set()
        for item in [] if items is None else self.reader.mappings("replaces", items):
            replaced = self.reader.fields(REPLACED, item)
            other = replaced.text("name")
            if replaced.lacks("name"):
                self.reader.error(replaced.get("name", item), "an item of `replaces` has no `name`, expected `name: …`")
            elif other and other == name:
                self.reader.error(
                    replaced["name"], f"`replaces` names its own rate limit `{shorten(name)}`, expected another one"
                )
            elif other:
                names.add(other)
                self._replaced.append(
                    (other, SourceLocation(self._file, replaced["name"].line, replaced["name"].column))
                )
        return frozenset(names)
