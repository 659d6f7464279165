"""`docs/cli.md` has an example of each command, and each prints what the page says."""

import re

import pytest
import typer.main

from rls.cli import app
from tests.cli.cli_page import PAGE, Section, comparable, played, sections

FIRST, *SECTIONS = sections(PAGE.read_text())


def test_each_command_has_a_section_and_an_example_there() -> None:
    """In alphabetical order."""
    group = typer.main.get_command(app)
    commands = sorted(group.commands)  # type: ignore[attr-defined]
    assert [section.name for section in SECTIONS] == commands
    shown = {section.name: [command for command, _ in section.examples] for section in SECTIONS}
    without = [name for name in commands if not any(re.match(rf"rls {name}\b", one) for one in shown[name])]
    assert without == []


@pytest.mark.parametrize("section", SECTIONS, ids=[section.name for section in SECTIONS])
def test_the_commands_print_what_the_page_says(section: Section) -> None:
    """But for durations, times and the width of columns."""
    for command, shown, printed in played(section, FIRST.files):
        assert comparable(printed) == comparable(shown), f"$ {command}\n{printed}"
