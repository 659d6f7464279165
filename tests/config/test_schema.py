from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from rls.config.schema import SHAPES, FieldType, json_schema
from rls.core.model import MAX_WINDOW_SECONDS, Unit

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
KEYS = sorted({(shape, name) for shape, keys in SHAPES.items() for name in keys.keys})


def test_the_committed_json_schema_is_the_grammar():
    """`make schema` writes it anew."""
    committed = (DOCS / "descriptors.schema.json").read_text()
    assert committed == json.dumps(json_schema(), indent=2) + "\n"


def test_the_example_points_editors_to_the_json_schema():
    """The hint in its first line names a file that is there."""
    example = ROOT / "config" / "descriptors.yaml"
    hint = re.match(r"# yaml-language-server: \$schema=(\S+)\n", example.read_text())
    assert hint is not None
    assert (example.parent / hint[1]).resolve() == DOCS / "descriptors.schema.json"


@pytest.mark.parametrize("name", sorted({name for shape, name in KEYS if not SHAPES[shape].keys[name].replaced_by}))
def test_every_key_is_documented_with_an_example(name):
    """The page about the configuration has a line on each key, and uses it in YAML."""
    page = (DOCS / "configuration.md").read_text()
    assert f"| `{name}` |" in page
    assert any(re.search(rf"\b{name}:", block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))


def test_every_shape_is_reached():
    """No part of the grammar is left over, and none is missing."""
    used = {key.shape for shape in SHAPES.values() for key in shape.keys.values() if key.shape}
    assert used | {"document"} == set(SHAPES)
    for shape in SHAPES.values():
        for key in shape.keys.values():
            assert bool(key.shape) == (key.kind in (FieldType.SHAPE, FieldType.LIST))


@pytest.mark.parametrize("unit", Unit)
def test_units_are_taken_in_any_case_by_the_json_schema(unit):
    """As the server takes them."""
    alternatives = json_schema()["$defs"]["rate_limit"]["properties"]["unit"]["anyOf"]
    assert unit.name.lower() in alternatives[0]["enum"]
    for text in (unit.name, unit.name.lower(), unit.name.title()):
        assert re.search(alternatives[1]["pattern"], text)
    assert not re.search(alternatives[1]["pattern"], unit.name + "S")


def test_the_longest_window_is_a_whole_number_of_all_units():
    """So that the message about `unit_multiplier` can name the largest one."""
    assert all(MAX_WINDOW_SECONDS % unit.seconds == 0 for unit in Unit if unit not in (Unit.WEEK, Unit.MONTH))


def test_the_examples_of_the_page_are_good(tmp_path):
    """What the page shows loads without an error, and its JSON Schema's keys are used where they belong."""
    from rls.sources.load import load

    page = (DOCS / "configuration.md").read_text()
    blocks = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "domain:" in block]
    assert blocks
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        assert load([path]).diagnostics == ()
        assert all(isinstance(document, dict) for document in yaml.safe_load_all(block))
