"""Old names of settings. They are read for one release, with a warning that names the new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from rls.settings.schema import flag, variable


class NewName(NamedTuple):
    """What an old name became.

    Attributes:
        name: The setting.
        inverse: Whether it means the opposite of the old one, which was on by default.
    """

    name: str
    inverse: bool = False


RENAMED: Mapping[str, NewName] = {
    "caller_timeout": NewName("default_deadline"),
    "charge_refused": NewName("refund_over_limit", inverse=True),
    "drain": NewName("drain_timeout"),
    "max_streams": NewName("max_concurrent_streams"),
    "refusal_header": NewName("limited_by_header"),
}
"""Old name → new name."""


def old_flag(old: str) -> str:
    """The flag of the setting *old*."""
    return flag(f"no_{old}" if RENAMED[old].inverse else old)


class Given:
    """What flags and variables give, by the new names of settings.

    Args:
        flags: Values by the name of the setting, new or old.
        environ: Variables. Empty ones count as not set.

    Attributes:
        values: What to build the settings from: all flags, and the variables with an old name.
        warnings: A line for each old name.
        mistakes: A line for each setting that has both its old name and its new one.
    """

    def __init__(self, flags: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self.values = {name: value for name, value in flags.items() if name not in RENAMED}
        self.warnings: list[str] = []
        self.mistakes: list[str] = []
        self._environ = environ
        self._sources = {name: flag(name) for name in self.values}
        variables = {name: text for name in RENAMED if (text := environ.get(variable(name)))}
        self._rename({name: flags[name] for name in RENAMED if name in flags}, old_flag, flag, beside=flags)
        new = {name: "set" for name, _ in RENAMED.values() if environ.get(variable(name))}
        self._rename(variables, variable, variable, beside=new)

    def source(self, name: str) -> str:
        """The flag or variable that gave the setting *name*; its variable where nothing did."""
        return self._sources.get(name, variable(name))

    def value(self, name: str) -> Any:
        """What was given for the setting *name*; None where nothing was."""
        return self.values[name] if name in self.values else self._environ.get(variable(name))

    def _rename(
        self,
        values: Mapping[str, Any],
        old_text: Callable[[str], str],
        new_text: Callable[[str], str],
        *,
        beside: Mapping[str, Any],
    ) -> None:
        for old, value in values.items():
            name, inverse = RENAMED[old]
            opposite = ", which means the opposite" if inverse else ""
            self.warnings.append(
                f"{old_text(old)} is an old name, which the next release will not read: use {new_text(name)}{opposite}"
            )
            if name in beside:
                self.mistakes.append(
                    f"{old_text(old)} is the old name of {new_text(name)}: expected only {new_text(name)}"
                )
            elif name not in self.values:
                self.values[name] = _inverted(value) if inverse else value
                self._sources[name] = old_text(old)


_BOOL = TypeAdapter(bool)


def _inverted(value: object) -> object:
    """The opposite of a switch; what is no switch, as it is."""
    try:
        return not _BOOL.validate_python(value)
    except ValidationError:
        return value
