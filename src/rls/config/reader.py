"""Nodes × grammar → fields: which keys a mapping has, and what they hold. All mistakes are gathered, none ends it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

from rls.config.hints import meant_by_key
from rls.config.nodes import STR_TAG, Scalar, YamlMapping, YamlNode, YamlSequence
from rls.config.scalars import NULL, WrongTagError, as_text, resolve
from rls.config.schema import SHAPES, FieldSpec, FieldType
from rls.core.model import UINT32_MAX
from rls.errors import Diagnostic, SourceLocation


class Field(NamedTuple):
    """What a key holds.

    Attributes:
        value: Text, a bool, a number, `Fields`, a list's node, or free values; None where it is null, INVALID where it
            was a mistake.
        line: Line of the key.
        column: Column of the key.
    """

    value: Any
    line: int
    column: int


class Invalid:
    """In place of a value that was a mistake, so that it is not called missing as well."""


INVALID = Invalid()


class Fields(dict[str, Field]):
    """The fields of a mapping, by key; what is absent, null or a mistake reads as the default of its kind."""

    __slots__ = ()

    def text(self, name: str) -> str:
        """Text; "" by default."""
        field = self.get(name)
        return field.value if field is not None and isinstance(field.value, str) else ""

    def flag(self, name: str) -> bool:
        """A flag; False by default."""
        field = self.get(name)
        return field is not None and field.value is True

    def value(self, name: str) -> Any:
        """A value of any other kind; None by default."""
        field = self.get(name)
        return None if field is None or field.value is INVALID else field.value

    def lacks(self, name: str) -> bool:
        """Whether it is absent, null or empty text; a mistake is none of these."""
        field = self.get(name)
        return field is None or field.value is None or field.value == ""


_NULL_TAG = "tag:yaml.org,2002:null"


class Reader:
    """Reads one file.

    Attributes:
        diagnostics: Mistakes: the file cannot be used.
        warnings: What is accepted, but probably not meant.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.diagnostics: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []

    def error(self, at: YamlNode | Field, message: str) -> None:
        """Note a mistake."""
        self.diagnostics.append(Diagnostic(SourceLocation(self.file, at.line, at.column), message))

    def warn(self, at: YamlNode | Field, message: str) -> None:
        """Note what is probably not meant."""
        self.warnings.append(Diagnostic(SourceLocation(self.file, at.line, at.column), message))

    def fields(
        self, shape: str, mapping: YamlMapping, fields: Fields | None = None, *, overridden: bool = False
    ) -> Fields:
        """The fields of *mapping*, put into *fields*; where it is *overridden*, another one under the same key counts.

        As in the reference, keys count in their order: what comes later wins, be it repeated or merged with `<<`, and
        the two of a repeated `rate_limit` are merged key by key.
        """
        fields = Fields() if fields is None else fields
        keys = SHAPES[shape].keys
        own: set[str] = set()
        counts = {key.text: node for key, node in mapping.items if isinstance(key, Scalar)}
        for key_node, node in mapping.items:
            if not isinstance(key_node, Scalar):
                self.error(key_node, f"a key is {describe(key_node)}, expected text")
                continue
            name = key_node.text
            if name == "<<" and key_node.tag is None:
                self._merge(shape, key_node, node, fields, own)
                continue
            key = keys.get(name)
            if key is None:
                self._unknown(shape, key_node, node, counts)
                continue
            if name in own:
                self.warn(key_node, f"`{name}` stands here twice, expected once; the last one counts")
            own.add(name)
            if name in fields:
                self._check_overridden(name, key, fields)
            value = self._value(name, key, node, fields, overridden=overridden or counts[name] is not node)
            fields[name] = Field(value, key_node.line, key_node.column)
        return fields

    def mappings(self, name: str, items: YamlSequence) -> Iterator[YamlMapping]:
        """The items of the list under the key *name*, each of which must be a mapping."""
        for item in items.items:
            if isinstance(item, YamlMapping):
                yield item
            else:
                self.error(item, f"an item of `{name}` is {describe(item)}, expected a mapping{_example(name)}")

    def _value(self, name: str, key: FieldSpec, node: YamlNode, fields: Fields, *, overridden: bool) -> Any:
        kind = key.kind
        if isinstance(node, Scalar):
            try:
                if kind is FieldType.TEXT:
                    return as_text(node)
                value = resolve(node)
            except WrongTagError as error:
                self.error(node, f"`{name}` {error}, expected {_expected(name, key, node)}")
                return INVALID
            if value is None:
                return None
            if kind is FieldType.FLAG and isinstance(value, bool):
                return value
            if kind is FieldType.COUNT and type(value) is int and key.minimum <= value <= UINT32_MAX:
                return value
            if kind is FieldType.COUNT and overridden and isinstance(value, float) and 0 <= value < UINT32_MAX + 1:
                return INVALID  # the reference looks for fractions only at what counts
        elif isinstance(node, YamlMapping):
            if kind is FieldType.SHAPE:
                before = fields.value(name)
                return self.fields(key.shape, node, before, overridden=overridden)
            if kind is FieldType.FREE:
                return self._free(node)
        elif kind is FieldType.LIST:
            return node
        self.error(node, f"`{name}` is {describe(node)}, expected {_expected(name, key, node)}")
        return INVALID

    def _check_overridden(self, name: str, key: FieldSpec, fields: Fields) -> None:
        """Read a list that will not count, because what comes now does: the reference takes no mistakes there either."""
        overridden = fields.value(name)
        if isinstance(overridden, YamlSequence):
            for item in self.mappings(name, overridden):
                inner = self.fields(key.shape, item)
                for inner_name, inner_key in SHAPES[key.shape].keys.items():
                    self._check_overridden(inner_name, inner_key, inner)

    def _merge(self, shape: str, key_node: Scalar, node: YamlNode, fields: Fields, own: set[str]) -> None:
        for source in self._merged(key_node, node):
            overridden = sorted(own.intersection(key.text for key, _ in source.items if isinstance(key, Scalar)))
            if overridden:
                self.warn(
                    key_node, f"`<<` overrides `{overridden[0]}`, which stands above it, expected `<<` to come first"
                )
            self.fields(shape, source, fields)

    def _merged(self, key: Scalar, node: YamlNode) -> Iterator[YamlMapping]:
        """The mappings that `<<` at *key* is given, in the order in which they count: the first of a list wins."""
        sources = [node]
        # What stands above its key is an alias, and that of a list is refused, as in the reference.
        if isinstance(node, YamlSequence) and (node.line, node.column) > (key.line, key.column):
            sources = node.items[::-1]
        for source in sources:
            if isinstance(source, YamlMapping):
                yield source
            else:
                at = key if source is node and isinstance(source, YamlSequence) else source
                self.error(at, f"`<<` is given {describe(source)}, expected an alias of a mapping, or a list of them")

    def _unknown(self, shape: str, key: Scalar, node: YamlNode, beside: Collection[str]) -> None:
        if key.tag is None and key.text in NULL:
            self.error(key, "a key is empty, expected text")
            return
        here = SHAPES[shape]
        elsewhere = [name for name, other in SHAPES.items() if key.text in other.keys]
        if elsewhere:
            self.error(key, f"`{key.text}` stands {here.inside}, expected it {_home(shape, elsewhere)}")
            return
        names = tuple(name for name, spec in here.keys.items() if not spec.replaced_by)
        close = _closest(key.text.lower(), names)
        expected = meant_by_key(shape, key.text, node, beside) or f"expected {one_of(names)}"
        self.error(key, f"unknown key `{key.text}`, {f'did you mean `{close}`?' if close else expected}")

    def _free(self, mapping: YamlMapping) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, node in mapping.items:
            if not isinstance(key, Scalar):
                self.error(key, f"a key is {describe(key)}, expected text")
            elif key.text == "<<" and key.tag is None:
                for source in self._merged(key, node):
                    values.update(self._free(source))
            else:
                values[key.text] = self._free_value(node)
        return values

    def _free_value(self, node: YamlNode) -> Any:
        if isinstance(node, YamlMapping):
            return self._free(node)
        if isinstance(node, YamlSequence):
            return [self._free_value(item) for item in node.items]
        try:
            return resolve(node)
        except WrongTagError as error:
            self.error(node, f"a value {error}, expected a tag that fits, or none")
            return None


def describe(node: YamlNode) -> str:
    """*node* as errors call it."""
    if isinstance(node, YamlMapping):
        is_template = bool(node.items) and isinstance(node.items[0][0], YamlMapping)
        return "a template, `{{ … }}`, that nothing has filled in" if is_template else "a mapping"
    if isinstance(node, YamlSequence):
        return "a list"
    if node.tag is None or node.tag == _NULL_TAG:
        return "empty" if node.text == "" else f"`{shorten(node.text)}`"
    return f'the text "{shorten(node.text)}"'


def shorten(text: str) -> str:
    """*text*, fit for one line of a message. Whoever shows the message escapes all of it: see `rls.printable`."""
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:39]}…"


def meant(text: str, words: Collection[str]) -> str:
    """What was meant by *text*, which is none of *words*."""
    close = _closest(text.lower(), tuple(words))
    return f"did you mean `{close}`?" if close else f"expected {one_of(words)}"


@lru_cache(maxsize=256)
def _closest(text: str, words: tuple[str, ...]) -> str:
    """The one of *words* that is close to *text*, or "". Who writes one mistake 100,000 times need not wait for each."""
    return next(iter(get_close_matches(text, words, n=1)), "")


def one_of(words: Collection[str]) -> str:
    """*words* as a choice."""
    quoted = [f"`{word}`" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _expected(name: str, key: FieldSpec, node: YamlNode) -> str:
    quoted = " without quotes" if isinstance(node, Scalar) and node.tag == STR_TAG else ""
    match key.kind:
        case FieldType.COUNT:
            unit = ", and the unit in `unit`" if isinstance(node, Scalar) and "/" in node.text else ""
            return f"a whole number from {key.minimum} to {UINT32_MAX}{quoted}{unit}"
        case FieldType.LIST | FieldType.SHAPE:
            return f"{key.kind.value}{_example(name)}"
        case FieldType.FLAG:
            return f"{key.kind.value}{quoted}"
    return str(key.kind.value)


def _example(name: str) -> str:
    examples = {
        "descriptors": " with `- key: …`",
        "replaces": " with `- name: …`",
        "rate_limit": " with `unit` and `requests_per_unit`",
    }
    return examples[name]


def _home(shape: str, homes: list[str]) -> str:
    """Where a key belongs that stands in *shape*, but belongs to *homes*."""
    match (shape, homes[0]):
        case (_, "document"):
            return "at the top of the document"
        case ("rate_limit", "descriptor"):
            return "beside `rate_limit`"
        case ("document" | "replaced", "descriptor"):
            return "in an item of `descriptors`"
        case ("descriptor" | "document", "rate_limit"):
            return "inside `rate_limit`"
    return "beside `replaces`"
