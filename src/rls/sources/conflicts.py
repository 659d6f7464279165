"""Documents of several files → one trie for each domain, without descriptors that stand in two files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from rls.config import lint
from rls.config.compile import Document, place_of
from rls.core.rules import Domain, TrieNode
from rls.errors import Diagnostic
from rls.slices import STEP, Steps

K = TypeVar("K")


class Clash(NamedTuple):
    """A descriptor that stands in two files."""

    earlier: TrieNode
    later: TrieNode


class DomainDocuments(NamedTuple):
    """The documents of one domain, and what they come to.

    Attributes:
        documents: In the order in which they are merged.
        root: Their trie.
        clashes: Descriptors that stand in two of them.
    """

    documents: tuple[Document, ...]
    root: TrieNode
    clashes: tuple[Clash, ...]


class DomainResult(NamedTuple):
    """A domain without clashes, and what is odd about it across its documents."""

    merged: DomainDocuments
    domain: Domain
    warnings: tuple[Diagnostic, ...]


def merge_documents(documents: Sequence[Document]) -> Steps[DomainDocuments]:
    """Merge the documents of one domain. Of descriptors that clash, the last one is in the trie."""
    if len(documents) == 1:
        return DomainDocuments(tuple(documents), documents[0].root, ())
    root = TrieNode()
    clashes: list[Clash] = []
    for document in documents:
        yield from _add_children(document.root.exact, root.exact, clashes)
        yield from _add_children(document.root.defaults, root.defaults, clashes)
        for key, wildcards in document.root.wildcards.items():
            root.wildcards.setdefault(key, []).extend(wildcards)
        yield
    return DomainDocuments(tuple(documents), root, tuple(clashes))


def _add_children(added: Mapping[K, TrieNode], to: dict[K, TrieNode], clashes: list[Clash]) -> Steps[None]:
    for number, (entry, node) in enumerate(added.items()):
        earlier = to.get(entry)
        if earlier is not None:
            clashes.append(Clash(earlier, node))
        to[entry] = node
        if number % STEP == 0:
            yield


def merge_all(
    by_domain: Mapping[str, Sequence[Document]], known: Mapping[str, DomainDocuments]
) -> Steps[dict[str, DomainDocuments]]:
    """Merge the documents of each domain; what is *known* of the same documents is not merged again."""
    merged = {}
    for name, documents in by_domain.items():
        before = known.get(name)
        if before is not None and _are_same(before.documents, documents):
            merged[name] = before
        else:
            merged[name] = yield from merge_documents(documents)
        yield
    return merged


def _are_same(some: Sequence[Document], others: Sequence[Document]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def sorted_clashes(merged: Mapping[str, DomainDocuments]) -> list[Clash]:
    """All clashes, by place."""
    clashes = [clash for domain in merged.values() for clash in domain.clashes]
    return sorted(clashes, key=lambda clash: (place_of(clash.later), place_of(clash.earlier)))


def finish_domain(name: str, merged: DomainDocuments) -> Steps[DomainResult]:
    """The domain that documents without clashes come to."""
    said = [document.refund_over_limit for document in merged.documents if document.refund_over_limit is not None]
    warnings = lint.contradictions("refund_over_limit", said)
    warnings += yield from lint.unreachable(merged.root)
    warnings += yield from lint.hidden(merged.root)
    named = [rule for document in merged.documents for rule in document.named]
    replaced = [at for document in merged.documents for at in document.replaced]
    yield
    warnings += yield from lint.replacements(named, replaced)
    return DomainResult(merged, Domain(name, merged.root, said[0][0] if said else None), tuple(warnings))
