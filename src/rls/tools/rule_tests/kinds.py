"""What a value of a test file may be: reads it from YAML, with its place, and says it as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

from rls.alike import closest
from rls.config.nodes import Scalar, YamlMapping, YamlNode, YamlSequence
from rls.config.scalars import NULL, WrongTagError, as_text, resolve
from rls.tools.rule_tests.mistakes import Located, Mistakes

Schema: TypeAlias = dict[str, Any]


class Kind(Protocol):
    """One kind of value."""

    @property
    def expected(self) -> str:
        """What a message calls it."""

    def fits(self, node: YamlNode) -> bool:
        """Whether *node* looks like one; `read` says what is wrong with it."""

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        """The value; None after a mistake."""

    def schema(self) -> Schema:
        """As JSON Schema."""


def is_null(node: YamlNode) -> bool:
    """Whether *node* is YAML's null."""
    return isinstance(node, Scalar) and node.tag is None and node.text in NULL


@dataclass(frozen=True)
class Plain:
    """A scalar that *read_text* makes a value of; it raises ValueError with what it expected. Text, as it is written, without it."""

    expected: str = "text"
    json: Any = ("string", "number", "boolean")
    read_text: Callable[[str], Any] = str
    words: Sequence[str] = ()

    def fits(self, node: YamlNode) -> bool:
        return isinstance(node, Scalar) and not is_null(node)

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        if not isinstance(node, Scalar) or is_null(node):
            return mistakes.wrong(node, self.expected)
        try:
            text = as_text(node)
            if self.words and text not in self.words:
                raise ValueError  # noqa: TRY301 - as `read_text` does
            return self.read_text(text)
        except (WrongTagError, ValueError):
            return mistakes.wrong(node, self.expected)

    def schema(self) -> Schema:
        return {"enum": list(self.words)} if self.words else {"type": list(self.json)}


TEXT = Plain()


def words(*known: str) -> Plain:
    """One of *known*."""
    return Plain(" or ".join(f"`{word}`" for word in known), words=known)


@dataclass(frozen=True)
class Whole:
    """A whole number from *least* to *most*."""

    least: int = 0
    most: int = 2**64 - 1

    @property
    def expected(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def fits(self, node: YamlNode) -> bool:
        return isinstance(node, Scalar)

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        if (
            isinstance(node, Scalar)
            and re.fullmatch(r"\d{1,20}", node.text)
            and self.least <= int(node.text) <= self.most
        ):
            return int(node.text)
        return mistakes.wrong(node, self.expected)

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


class Flag:
    """True or false."""

    expected = "`true` or `false`"

    def fits(self, node: YamlNode) -> bool:
        return isinstance(node, Scalar) and node.tag is None and node.text in ("true", "false")

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        return (
            node.text == "true" if isinstance(node, Scalar) and self.fits(node) else mistakes.wrong(node, self.expected)
        )

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Null:
    """Nothing."""

    expected = "`null`"

    def fits(self, node: YamlNode) -> bool:
        return is_null(node)

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        return None if is_null(node) else mistakes.wrong(node, self.expected)

    def schema(self) -> Schema:
        return {"type": "null"}


class Free:
    """A mapping of any values, as JSON has them."""

    expected = "a mapping"

    def fits(self, node: YamlNode) -> bool:
        return isinstance(node, YamlMapping)

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        return self._value(node, mistakes) if isinstance(node, YamlMapping) else mistakes.wrong(node, self.expected)

    def _value(self, node: YamlNode, mistakes: Mistakes) -> Any:
        if isinstance(node, YamlMapping):
            pairs = [(TEXT.read(key, mistakes), self._value(value, mistakes)) for key, value in node.items]
            return dict(pairs)
        if isinstance(node, YamlSequence):
            return [self._value(item, mistakes) for item in node.items]
        try:
            return resolve(node)
        except WrongTagError as error:
            return mistakes.add(mistakes.place(node), f"this {error}")

    def schema(self) -> Schema:
        return {"type": "object"}


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind, of *size* items where that is given."""

    item: Kind
    expected: str = "a list"
    size: int | None = None

    def fits(self, node: YamlNode) -> bool:
        return isinstance(node, YamlSequence)

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        if not isinstance(node, YamlSequence) or self.size not in (None, len(node.items)):
            return mistakes.wrong(node, self.expected)
        return [self.item.read(item, mistakes) for item in node.items]

    def schema(self) -> Schema:
        bounds = {} if self.size is None else {"minItems": self.size, "maxItems": self.size}
        return {"type": "array", "items": self.item.schema(), **bounds}


@dataclass(frozen=True)
class MapOf:
    """A mapping from texts to values of one kind, but for the keys *without*."""

    value: Kind
    expected: str = "a mapping"
    without: str = ""

    def fits(self, node: YamlNode) -> bool:
        if not isinstance(node, YamlMapping):
            return False
        return not any(isinstance(key, Scalar) and self.without and key.text == self.without for key, _ in node.items)

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        if not isinstance(node, YamlMapping):
            return mistakes.wrong(node, self.expected)
        read = Located(mistakes.place(node))
        for key, value in node.items:
            name = TEXT.read(key, mistakes)
            if isinstance(name, str):
                read[name] = self.value.read(value, mistakes)
                read.places[name] = mistakes.place(key)
        return read

    def schema(self) -> Schema:
        excluded = {"not": {"required": [self.without]}} if self.without else {}
        return {"type": "object", "additionalProperties": self.value.schema(), **excluded}


@dataclass(frozen=True)
class OneOf:
    """A value of the first kind that fits."""

    kinds: Sequence[Kind]
    expected: str

    def fits(self, node: YamlNode) -> bool:
        return any(kind.fits(node) for kind in self.kinds)

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        for kind in self.kinds:
            if kind.fits(node):
                return kind.read(node, mistakes)
        return mistakes.wrong(node, self.expected)

    def schema(self) -> Schema:
        return {"anyOf": [kind.schema() for kind in self.kinds]}


class Key(NamedTuple):
    """What a key of a shape holds; *doc* is one sentence for editors."""

    kind: Kind
    doc: str
    needed: bool = False


@dataclass(frozen=True)
class Shape:
    """A mapping with known keys; *name* is what messages call it."""

    name: str
    keys: Mapping[str, Key]

    @property
    def expected(self) -> str:
        return f"{self.name}: a mapping"

    def fits(self, node: YamlNode) -> bool:
        return isinstance(node, YamlMapping)

    def read(self, node: YamlNode, mistakes: Mistakes) -> Any:
        if not isinstance(node, YamlMapping):
            return mistakes.wrong(node, self.expected)
        read = Located(mistakes.place(node))
        for key, value in node.items:
            name = key.text if isinstance(key, Scalar) else ""
            place = mistakes.place(key)
            if name not in self.keys:
                mistakes.add(place, f"unknown key `{name}` in {self.name}, expected {self._meant(name)}")
            elif name in read.places:
                mistakes.add(
                    place, f"`{name}` stands here twice, first at line {read.places[name].line}; expected it once"
                )
            else:
                read.places[name] = place
                read[name] = self.keys[name].kind.read(value, mistakes)
        for name, one in self.keys.items():
            if one.needed and name not in read.places:
                mistakes.add(read.place, f"{self.name} has no `{name}`, expected one")
        return read

    def _meant(self, name: str) -> str:
        close = closest(name, self.keys)[:1]
        return " or ".join(f"`{one}`" for one in close) or "one of: " + ", ".join(f"`{one}`" for one in self.keys)

    def schema(self) -> Schema:
        needed = [name for name, key in self.keys.items() if key.needed]
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: {"description": key.doc, **key.kind.schema()} for name, key in self.keys.items()},
            **({"required": needed} if needed else {}),
        }
