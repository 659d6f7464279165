"""Rules for commands that need some without mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rls.cli.output import say
from rls.cli.urls import refuse_urls

if TYPE_CHECKING:
    from rls.core.rules import RuleSet
    from rls.sources.disk import Disk


def read_rules(paths: Sequence[Path], disk: Disk | None = None) -> RuleSet:
    """The rules of *paths*, files and directories. Standard input is none, unless *disk* has it.

    Raises:
        typer.BadParameter: One of *paths* is `-`.
        typer.Exit: They have mistakes, which have been printed; the exit code is 2.
    """
    from rls.cli.standard_input import refuse  # noqa: PLC0415
    from rls.sources.load import load  # noqa: PLC0415

    refuse(paths)
    refuse_urls(paths, "a file or directory with rules; curl -s URL > rules.yaml")
    loaded = load(paths, disk=disk)
    for problem in loaded.diagnostics:
        say(f"rls: {problem}", err=True)
    if loaded.diagnostics:
        raise typer.Exit(2)
    return loaded.rules
