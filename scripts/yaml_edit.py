"""Change one list in a YAML text and leave the rest as it is written: comments, order, quotes, anchors.

The caller compares the parsed new text with what it should be: only that shows that an anchor or a repeated key made
the change reach further.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode


class NotInPlace(Exception):
    """The text cannot be changed in place; the message says why."""


def insert(text: str, keys: Sequence[str], item: Any) -> str:
    """*text* with *item* at the end of the list at *keys*; missing parents are created.

    Raises:
        NotInPlace: On the way there is something that is no mapping, or no list at its end.
        yaml.YAMLError: *text* is not YAML.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        return f"{text.rstrip()}\n{_block(_nested(keys, item), 0)}".lstrip()
    for number, key in enumerate(keys):
        if not isinstance(node, MappingNode):
            raise NotInPlace(f"{'.'.join(keys[:number]) or 'it'} is no mapping")
        found = _value(node, key)
        if found is None:
            return _into_mapping(text, node, _nested(keys[number:], item))
        if _is_empty(found):
            rest = keys[number + 1 :]
            return _instead_of_nothing(text, _key(node, key), found, _nested(rest, item) if rest else [item])
        node = found
    if not isinstance(node, SequenceNode):
        raise NotInPlace(f"{'.'.join(keys)} is no list")
    if node.flow_style:
        return _before_end(text, node, json.dumps(item, ensure_ascii=False))
    return _after_line(text, _last_line(text, node), _block([item], node.start_mark.column))


def replace(text: str, keys: Sequence[str], index: int, item: Any) -> str:
    """*text* with *item* in place of what the list at *keys* has at *index*.

    Raises:
        NotInPlace: There is no such list.
        yaml.YAMLError: *text* is not YAML.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in keys:
        node = _value(node, key) if isinstance(node, MappingNode) else None
    if not isinstance(node, SequenceNode):
        raise NotInPlace(f"{'.'.join(keys)} is no list")
    old = node.value[index]
    if node.flow_style:
        start, end = old.start_mark.index, old.end_mark.index
        return text[:start] + json.dumps(item, ensure_ascii=False) + text[end:]
    if old.start_mark.line < node.start_mark.line or _dash(text, old) != node.start_mark.column:
        raise NotInPlace("it is an alias, or its dash is on a line of its own")
    lines = text.splitlines(keepends=True)
    block = _block([item], node.start_mark.column)
    return "".join([*lines[: old.start_mark.line], block, *lines[_last_line(text, old) + 1 :]])


def _nested(keys: Sequence[str], item: Any) -> Any:
    tree: Any = [item]
    for key in reversed(keys):
        tree = {key: tree}
    return tree


def _block(tree: Any, column: int) -> str:
    """*tree* as lines that start at *column*."""
    dumped = yaml.safe_dump(tree, sort_keys=False, width=1000, allow_unicode=True)
    return "".join(f"{' ' * column}{line}\n" for line in dumped.splitlines())


def _key(node: MappingNode, key: str) -> Node:
    found: Node = next(name for name, _ in node.value if name.value == key)
    return found


def _value(node: MappingNode, key: str) -> Node | None:
    return next((value for name, value in node.value if name.value == key), None)


def _is_empty(node: Node) -> bool:
    if isinstance(node, ScalarNode):
        return node.tag == "tag:yaml.org,2002:null"
    return not node.value


def _into_mapping(text: str, node: MappingNode, tree: Any) -> str:
    if node.flow_style:
        ((key, value),) = tree.items()
        dumped = json.dumps(value, ensure_ascii=False)
        return _before_end(text, node, f"{json.dumps(key)}: {dumped}")
    return _after_line(text, _last_line(text, node), _block(tree, node.value[0][0].start_mark.column))


def _before_end(text: str, node: Node, item: str) -> str:
    """Before the bracket that ends a list or a mapping in one line."""
    end = node.end_mark.index - 1
    body = text[:end].rstrip()
    return f"{body}{' ' if body.endswith((',', '{', '[')) else ', '}{item}{text[len(body) : end]}{text[end:]}"


def _instead_of_nothing(text: str, key: Node, empty: Node, tree: Any) -> str:
    """A block below a key that has no value, or an empty one."""
    start, end = empty.start_mark.index, empty.end_mark.index
    if empty.start_mark.line != key.start_mark.line and start != end:
        raise NotInPlace(f"the value of {key.value} is on another line")
    if start != end:
        text = text[:start].rstrip(" ") + text[end:]
    column = key.start_mark.column + (0 if isinstance(tree, list) else 2)
    return _after_line(text, key.start_mark.line, _block(tree, column))


def _after_line(text: str, line: int, block: str) -> str:
    lines = text.splitlines(keepends=True)
    if not lines[line].endswith("\n"):
        # As it had no line end at its end, it gets none.
        lines[line] += "\n"
        block = block.removesuffix("\n") if line == len(lines) - 1 else block
    return "".join([*lines[: line + 1], block, *lines[line + 1 :]])


def _last_line(text: str, node: Node) -> int:
    """The number of the last line with something of the node on it; comments after it do not belong to it."""
    if isinstance(node, MappingNode) and not node.flow_style and node.value:
        # The last key may have no value.
        return max(int(node.value[-1][0].end_mark.line), _last_line(text, node.value[-1][1]))
    if isinstance(node, SequenceNode) and not node.flow_style and node.value:
        return _last_line(text, node.value[-1])
    last: int = node.end_mark.line
    if isinstance(node, ScalarNode) and node.style in {"|", ">"}:
        # It ends where the next thing begins, or with the text.
        lines = text.splitlines()
        last = min(last, len(lines)) - 1 if node.end_mark.column == 0 else last
        while last > node.start_mark.line and not lines[last].strip():
            last -= 1
    return last


def _dash(text: str, item: Node) -> int:
    """The column of the dash before an item that begins on its line; -1 without one."""
    before = text.splitlines()[item.start_mark.line][: item.start_mark.column].rstrip()
    return len(before) - 1 if before.strip() == "-" else -1
