import re
from pathlib import Path

import pytest

from rls.settings import Flag, Settings, duration_text, flag, variable
from rls.settings.read import _ON

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def row(name: str) -> str:
    """The first columns of the setting's row in the page."""
    field = Settings.model_fields[name]
    default = field.default
    if field.is_required():
        shown = "required"
    elif isinstance(default, bool):
        shown = "on" if default else "off"
    elif default in (None, "", ()):
        shown = ""
    elif next(part for part in field.metadata if isinstance(part, Flag)).metavar == "DURATION":
        shown = f"`{duration_text(default)}`"
    else:
        shown = f"`{default}`"
    return f"| `{flag(f'no_{name}') if default is True else flag(name)}` | `{variable(name)}` | {shown} |".replace(
        "|  |", "| |"
    )


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_page_with_its_default(name: str) -> None:
    assert f"\n{row(name)} " in PAGE.read_text()


def test_the_page_has_no_other_settings() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `--")]
    assert len(rows) == len(Settings.model_fields)


def test_the_page_has_all_words_of_switches() -> None:
    (said,) = re.findall(r"^- Switches are (.*?)As flags", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    on, off = (re.findall(r"`(\w+)`", part) for part in re.sub(r"`true` or `false`", "", said, count=1).split(";"))
    assert set(on) == {word for word in _ON if isinstance(word, str)}
    for words, expected in ((on, True), (off, False)):
        for word in (*words, *map(str.upper, words)):
            assert Settings(config="rules", shadow_mode=word).shadow_mode is expected
    for word, level in (("WARN", "warning"), ("fatal", "error"), ("Info", "info")):
        assert Settings(config="rules", log_level=word).log_level == level
