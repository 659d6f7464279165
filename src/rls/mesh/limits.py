"""Rate limits of Envoy's configuration: which descriptors their actions make, and of which requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from rls.core.actions import JWT_METADATA
from rls.mesh.trees import Tree, number, text, tree, trees, typed

ADDRESSES = frozenset({"remote_address", "masked_remote_address", "remote_address_match"})
_HEADERS_OF_ALL = frozenset({":path", ":method", ":authority", ":scheme"})
_NAMES = {
    "header_value_match": "header_match",
    "query_parameter_value_match": "query_match",
}
"""Keys of entries whose action has no descriptor_key, where they are not the action's own name."""


@dataclass(frozen=True, slots=True)
class Action:
    """One action: an entry of a descriptor.

    Attributes:
        kind: Its name in Envoy's API, such as `remote_address`; `jwt_claim` and `expr` for extensions.
        key: The entry's key.
        value: The entry's value; None where requests make it.
        always: Whether every request has it. Without an entry, the whole descriptor is left out.
        optional: Whether only the entry is left out instead (`skip_if_absent`).
        config: Its configuration.
    """

    kind: str
    key: str
    value: str | None
    always: bool
    optional: bool
    config: Tree = field(hash=False)

    @property
    def claim(self) -> tuple[str, ...]:
        """The way to a claim of a token, `(filter, payload, claim…)`; empty if it does not read metadata."""
        key = tree(self.config, "metadata_key")
        return (text(key, "key"), *(text(step, "key") for step in trees(key, "path"))) if key else ()

    @property
    def reads_tokens(self) -> bool:
        """Whether it reads what jwt_authn says of the request's token."""
        return JWT_METADATA in self.claim[:1] or (self.kind == "expr" and JWT_METADATA in text(self.config, "text"))


@dataclass(frozen=True, slots=True)
class Limit:
    """A `rate_limits` entry: it makes one descriptor, or none."""

    actions: tuple[Action, ...]
    stage: int
    disable_key: str
    config: Tree = field(hash=False)

    @property
    def late(self) -> bool:
        """Whether it counts after the response, so that it never limits the request."""
        return bool(self.config.get("apply_on_stream_done"))

    @property
    def always(self) -> bool:
        """Whether every request has this descriptor."""
        if not all(action.always or action.optional for action in self.actions) or self.hits_format:
            return False
        return any(action.always for action in self.actions)

    @property
    def hits_format(self) -> str:
        """The format of `hits_addend`; a request for which it yields nothing has no such descriptor."""
        return text(self.config, "hits_addend", "format")

    @property
    def only_looks(self) -> bool:
        """Whether it counts no hit: it refuses what other limits have counted."""
        return tree(self.config, "hits_addend").get("number") in {0, "0"} and not self.hits_format

    @property
    def title(self) -> str:
        """Its entries, as `[company_id]` or `[generic_key=slow, remote_address]`."""
        entries = [action.key if action.value is None else f"{action.key}={action.value}" for action in self.actions]
        return f"[{', '.join(entries)}]"

    def shapes(self) -> Iterator[tuple[tuple[str, str | None], ...]]:
        """Keys and values of each descriptor that it may make, as optional entries come and go."""
        present = [(action.key, action.value) for action in self.actions]
        choices = [(True, False) if action.optional and not action.always else (True,) for action in self.actions]
        for chosen in product(*choices):
            if any(chosen):
                yield tuple(entry for entry, taken in zip(present, chosen, strict=True) if taken)


def limits(entries: list[Tree]) -> tuple[Limit, ...]:
    """What the `rate_limits` *entries* say."""
    return tuple(
        Limit(
            tuple(_action(action) for action in trees(entry, "actions")),
            number(entry, "stage"),
            text(entry, "disable_key"),
            entry,
        )
        for entry in entries
    )


def _action(action: Tree) -> Action:
    kind = next(iter(action), "")
    config = tree(action, kind)
    if kind == "extension":
        message, config = typed(config.get("typed_config"))
        kind = "jwt_claim" if "jwt" in text(action, "extension", "name").lower() or "Jwt" in message else "expr"
    key = text(config, "descriptor_key") or _NAMES.get(kind, kind)
    fixed = text(config, "descriptor_value")
    value = fixed if fixed and "%" not in fixed else None
    always = kind in {"source_cluster", "destination_cluster", "remote_address", "masked_remote_address", "generic_key"}
    if kind == "request_headers":
        always = text(config, "header_name") in _HEADERS_OF_ALL
    if kind in {"metadata", "dynamic_metadata"}:
        always = bool(text(config, "default_value"))
    return Action(kind, key, value, always, bool(config.get("skip_if_absent")), config)
