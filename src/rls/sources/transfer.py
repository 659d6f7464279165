"""Compiled files on their way from one process to another, in frames that take little time to read.

A frame is a value in the format of `marshal`, which both processes read and write in C. A trie is sent node by node,
parents first, and built anew: to unpickle it would hold up the loop for as long as it takes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
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


def frames_of(compiled: Compiled) -> Iterator[Frame]:
    """All that *compiled* says, one frame after the other; the last one is `end`."""
    for kind, diagnostics in (("diagnostics", compiled.diagnostics), ("warnings", compiled.warnings)):
        for some in chunks(((one.place[1:], one.message) for one in diagnostics), _FRAME_ITEMS):
            yield kind, some
    for document in compiled.documents:
        refund = document.refund_over_limit
        replaced = [(name, place[1:]) for name, place in document.replaced]
        yield "document", (document.domain, replaced, None if refund is None else (refund[0], refund[1][1:]))
        for nodes in chunks(_flattened(document.root), _FRAME_ITEMS):
            yield "nodes", nodes
    yield "end", None


def _flattened(root: TrieNode) -> Iterator[tuple[Any, ...]]:
    levels = [_children(root)]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
            continue
        (key, value), node = found
        place = node.place or SourceLocation("", 1, 1)
        flags = node.share_threshold, node.value_to_metric
        rule = None if node.rule is None else _said(node.rule)
        yield len(levels) - 1, key, value, place.line, place.column, flags, node.digest, rule
        if node.exact or node.defaults:
            levels.append(_children(node))


def _children(node: TrieNode) -> Iterator[tuple[tuple[str, str], TrieNode]]:
    return chain(node.exact.items(), (((key, ""), child) for key, child in node.defaults.items()))


_PLAIN_FIELDS = tuple(
    found.name for found in fields(Rule) if found.name not in {"domain", "path", "limit", "on_backend_error", "place"}
)
"""Fields of a rule that `marshal` takes as they are."""
_plain_fields_of = attrgetter(*_PLAIN_FIELDS)


def _said(rule: Rule) -> tuple[Any, ...]:
    limit = None if rule.limit is None else (rule.limit[0], int(rule.limit[1]), *rule.limit[2:])
    policy = None if rule.on_backend_error is None else rule.on_backend_error.value
    return limit, policy, _plain_fields_of(rule)


class Receiver:
    """Builds what `frames_of` took apart.

    Args:
        file: Where all of it stands.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._diagnostics: dict[str, list[Diagnostic]] = {"diagnostics": [], "warnings": []}
        self._builders: list[_DocumentBuilder] = []
        self.ended = False
        """Whether all frames have been taken."""

    def take(self, frame: Frame) -> None:
        """Take the next frame; a fraction of a millisecond."""
        kind, held = frame
        if kind == "nodes":
            self._builders[-1].add(held)
        elif kind == "document":
            self._builders.append(_DocumentBuilder(self._file, *held))
        elif kind == "end":
            self.ended = True
        else:
            found = (Diagnostic(SourceLocation(self._file, *place), message) for place, message in held)
            self._diagnostics[kind].extend(found)

    def compiled(self) -> Compiled:
        """All of it; only after the last frame."""
        documents = tuple(builder.document() for builder in self._builders)
        return Compiled(documents, tuple(self._diagnostics["diagnostics"]), tuple(self._diagnostics["warnings"]))


class _DocumentBuilder:
    def __init__(self, file: str, domain: str, replaced: Iterable[Any], refund: Any) -> None:
        self._file = file
        self._domain = domain
        self._replaced = tuple((name, SourceLocation(file, *place)) for name, place in replaced)
        self._refund = None if refund is None else (refund[0], SourceLocation(file, *refund[1]))
        self._named: list[Rule] = []
        self._nodes = [TrieNode()]
        self._paths = [""]

    def document(self) -> Document:
        return Document(self._domain, self._nodes[0], tuple(self._named), self._replaced, self._refund)

    def add(self, nodes: Iterable[tuple[Any, ...]]) -> None:
        ancestors, paths = self._nodes, self._paths
        for depth, key, value, line, column, (share, value_to_metric), digest, said in nodes:
            del ancestors[depth + 1 :], paths[depth + 1 :]
            parent, above = ancestors[depth], paths[depth]
            text = f"{key}_{value}" if value else key
            path = f"{above}.{text}" if above else text
            place = SourceLocation(self._file, line, column)
            rule = None if said is None else self._rule(path, place, *said)
            node = TrieNode(text, NO_CHILDREN, NO_CHILDREN, NO_CHILDREN, rule, share, value_to_metric, place, digest)
            _add(parent, sys.intern(key), value, node)
            ancestors.append(node)
            paths.append(path)

    def _rule(self, path: str, place: SourceLocation, limit: Any, policy: str | None, plain: Any) -> Rule:
        rule = Rule(
            self._domain,
            path,
            None if limit is None else RateLimit(limit[0], Unit(limit[1]), *limit[2:]),
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
