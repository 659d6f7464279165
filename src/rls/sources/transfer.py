"""Compiled files on their way from one process to another, in frames that take little time to read.

A frame is a value in the format of `marshal`, which both processes read and write in C. A trie is sent node by node,
parents first, and built anew: to unpickle it would hold up the loop for as long as it takes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import chain
from operator import attrgetter
from typing import Any, TypeAlias

from rls.config.compile import Compiled, Document
from rls.core.model import Entry, RateLimit, Unit
from rls.core.rules import NO_CHILDREN, OnBackendError, Rule, TrieNode, Wildcard
from rls.errors import Diagnostic, SourceLocation
from rls.slices import chunks

Frame: TypeAlias = tuple[str, Any]
"""What it is (`document`, `nodes`, `diagnostics`, `warnings`, `end`), and what it holds."""

_FRAME_ITEMS = 100
_PLAIN_FIELDS = tuple(
    found.name for found in fields(Rule) if found.name not in {"domain", "path", "limit", "on_backend_error", "place"}
)
"""Fields of a rule that `marshal` takes as they are."""
_plain_fields_of = attrgetter(*_PLAIN_FIELDS)


class Sender:
    """Takes documents apart while they are compiled.

    Args:
        send: Takes the next frame. The last one is `end`.
    """

    def __init__(self, send: Callable[[Frame], None]) -> None:
        self._send = send
        self._root: TrieNode | None = None
        self._nodes: list[tuple[Any, ...]] = []

    def take(self, domain: str, root: TrieNode) -> None:
        """Send all below *root*, and take it away; see `rls.config.compile.Take`."""
        if root is not self._root:
            self._send_nodes()
            self._root = root
            self._send(("document", domain))
        for node in _flattened(root):
            self._nodes.append(node)
            if len(self._nodes) == _FRAME_ITEMS:
                self._send_nodes()
        root.exact.clear()
        root.wildcards.clear()
        root.defaults.clear()

    def end(self, compiled: Compiled) -> None:
        """Send the rest of what was *compiled*."""
        self._send_nodes()
        for kind, diagnostics in (("diagnostics", compiled.diagnostics), ("warnings", compiled.warnings)):
            for some in chunks(((one.place[1:], one.message) for one in diagnostics), _FRAME_ITEMS):
                self._send((kind, some))
        self._send(("end", [_end_of(document) for document in compiled.documents]))

    def _send_nodes(self) -> None:
        if self._nodes:
            self._send(("nodes", self._nodes))
            self._nodes = []


def _end_of(document: Document) -> tuple[Any, ...]:
    refund = document.refund_over_limit
    replaced = [(name, place[1:]) for name, place in document.replaced]
    return replaced, None if refund is None else (refund[0], refund[1][1:])


def _flattened(root: TrieNode) -> Iterator[tuple[Any, ...]]:
    levels = [_children(root)]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
            continue
        (key, value), node = found
        place = node.place or SourceLocation("", 1, 1)
        limit = None if node.rule is None else node.rule.limit
        numbers = None if limit is None else (limit[0], int(limit[1]), *limit[2:])
        more = _said_besides(node)
        yield len(levels) - 1, key, value, place[1], place[2], node.digest, numbers, None if more == _USUAL else more
        if node.exact or node.defaults:
            levels.append(_children(node))


def _children(node: TrieNode) -> Iterator[tuple[tuple[str, str], TrieNode]]:
    return chain(node.exact.items(), (((key, ""), child) for key, child in node.defaults.items()))


def _said_besides(node: TrieNode) -> tuple[Any, ...]:
    """What *node* says besides the limit of its rule; its last item is None where it has no rule."""
    rule = node.rule
    policy = None if rule is None or rule.on_backend_error is None else rule.on_backend_error.value
    return node.share_threshold, node.value_to_metric, policy, None if rule is None else _plain_fields_of(rule)


_USUAL = _said_besides(TrieNode(rule=Rule("", "", None)))
"""Of nearly all rules. It is not sent."""


class Receiver:
    """Builds what a `Sender` took apart.

    Args:
        file: Where all of it stands.

    Attributes:
        ended: Whether all frames have been taken.
    """

    def __init__(self, file: str) -> None:
        self.ended = False
        self._file = file
        self._diagnostics: dict[str, list[Diagnostic]] = {"diagnostics": [], "warnings": []}
        self._builders: list[_DocumentBuilder] = []
        self._ends: list[tuple[Any, ...]] = []

    @property
    def roots(self) -> list[TrieNode]:
        """The tries that it has built, complete or not."""
        return [builder.root for builder in self._builders]

    def take(self, frame: Frame) -> None:
        """Take the next frame; a fraction of a millisecond."""
        kind, held = frame
        if kind == "nodes":
            self._builders[-1].add(held)
        elif kind == "document":
            self._builders.append(_DocumentBuilder(self._file, held))
        elif kind == "end":
            self._ends, self.ended = held, True
        else:
            found = (Diagnostic(SourceLocation(self._file, *place), message) for place, message in held)
            self._diagnostics[kind].extend(found)

    def compiled(self) -> Compiled:
        """All of it; only after the last frame. Where there are mistakes, nothing of *roots* is in it."""
        mistakes, warnings = (tuple(self._diagnostics[kind]) for kind in ("diagnostics", "warnings"))
        if mistakes:
            return Compiled((), mistakes, warnings)
        documents = (builder.document(*end) for builder, end in zip(self._builders, self._ends, strict=True))
        return Compiled(tuple(documents), (), warnings)


class _DocumentBuilder:
    def __init__(self, file: str, domain: str) -> None:
        self.root = TrieNode()
        self._file = file
        self._domain = domain
        self._named: list[Rule] = []
        self._limits: dict[tuple[Any, ...], RateLimit] = {}  # many rules have the same
        self._nodes = [self.root]
        self._paths = [""]

    def document(self, replaced: Iterable[Any], refund: Any) -> Document:
        return Document(
            self._domain,
            self.root,
            tuple(self._named),
            tuple((name, SourceLocation(self._file, *place)) for name, place in replaced),
            None if refund is None else (refund[0], SourceLocation(self._file, *refund[1])),
        )

    def add(self, nodes: Iterable[tuple[Any, ...]]) -> None:
        ancestors, paths = self._nodes, self._paths
        for depth, key, value, line, column, digest, numbers, more in nodes:
            del ancestors[depth + 1 :], paths[depth + 1 :]
            parent, above = ancestors[depth], paths[depth]
            text = f"{key}_{value}" if value else key
            path = f"{above}.{text}" if above else text
            place = SourceLocation(self._file, line, column)
            share, value_to_metric, policy, plain = more or _USUAL
            rule = None
            if more is None:
                rule = Rule(self._domain, path, self._limit(numbers), place=place)
            elif plain is not None:
                rule = self._rule(path, place, self._limit(numbers), policy, plain)
            node = TrieNode(text, NO_CHILDREN, NO_CHILDREN, NO_CHILDREN, rule, share, value_to_metric, place, digest)
            _add(parent, sys.intern(key), value, node)
            ancestors.append(node)
            paths.append(path)

    def _limit(self, numbers: tuple[Any, ...] | None) -> RateLimit | None:
        if numbers is None:
            return None
        limit = self._limits.get(numbers)
        if limit is None:
            limit = self._limits[numbers] = RateLimit(numbers[0], Unit(numbers[1]), *numbers[2:])
        return limit

    def _rule(self, path: str, place: SourceLocation, limit: RateLimit | None, policy: str | None, plain: Any) -> Rule:
        rule = Rule(
            self._domain,
            path,
            limit,
            on_backend_error=None if policy is None else OnBackendError(policy),
            place=place,
            **dict(zip(_PLAIN_FIELDS, plain, strict=True)),
        )
        if rule.name or rule.replaces:
            self._named.append(rule)
        return rule


def _add(parent: TrieNode, key: str, value: str, node: TrieNode) -> None:
    if not value:
        if parent.defaults is NO_CHILDREN:
            parent.defaults = {}
        parent.defaults[key] = node
        return
    if parent.exact is NO_CHILDREN:
        parent.exact = {}
    parent.exact[Entry(key, value)] = node
    if "*" in value:
        if parent.wildcards is NO_CHILDREN:
            parent.wildcards = {}
        parent.wildcards.setdefault(key, []).append((Wildcard.parse(value), node))
