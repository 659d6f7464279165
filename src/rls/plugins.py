"""Plug-ins: what installed distributions add by entry points. Whatever is wrong with one names it."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from typing import Any

from rls.errors import SettingsError


def named(point: EntryPoint) -> str:
    """How messages call a plug-in."""
    distribution = f" of {point.dist.name}" if point.dist is not None else ""
    return f"the plug-in {point.name}{distribution} ({point.group})"


def points(group: str) -> list[EntryPoint]:
    """All plug-ins of a *group*, by their names.

    Raises:
        SettingsError: Two have one name: which one would serve is chance.
    """
    found = sorted(entry_points(group=group), key=lambda point: point.name)
    for one, other in pairwise(found):
        if one.name == other.name and one.value != other.value:
            raise SettingsError(f"{named(one)} and {named(other)} have one name, expected one of them to be installed")
    return found


def find(group: str, name: str) -> EntryPoint | None:
    """The plug-in of that *name*; None where no installed distribution has one."""
    return next((point for point in points(group) if point.name == name), None)


def load(point: EntryPoint) -> Any:
    """What a plug-in refers to.

    Raises:
        SettingsError: It cannot be imported.
    """
    try:
        return point.load()
    except Exception as error:
        raise SettingsError(f"{named(point)} cannot be loaded: {error!r}") from error


def make(point: EntryPoint, kind: Any, *arguments: object) -> Any:
    """What the callable of a plug-in returns for *arguments*, which is to be a *kind*.

    Raises:
        SettingsError: It cannot be imported, it failed, or it is something else.
    """
    factory = load(point)
    try:
        made = factory(*arguments)
    except SettingsError:
        raise
    except Exception as error:
        raise SettingsError(f"{named(point)} failed: {error!r}") from error
    if not isinstance(made, kind):
        raise SettingsError(f"{named(point)} made {made!r}, expected a {kind.__name__}")
    return made
