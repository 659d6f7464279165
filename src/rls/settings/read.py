"""Flags and environment → Settings, or everything that is wrong with them, at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rls.errors import SettingsError
from rls.settings.schema import PREFIX, Settings
from rls.settings.values import REPLACED_TRANSPORTS, lowered, redacted

# What Kubernetes puts into every container for a Service called `rls` or `rls-…`; never a setting.
_KUBERNETES = re.compile(r"RLS_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)")
# A setting, and the one without which it means nothing.
_NEEDS = {"tls_cert": "tls_key", "tls_key": "tls_cert", "tls_client_ca": "tls_cert", "tls_client_san": "tls_client_ca"}


def read(flags: Mapping[str, Any]) -> Settings:
    """Settings from *flags*, by the names of the settings, and where they say nothing, from the environment.

    Raises:
        SettingsError: Something cannot be used; every mistake has its line.
    """
    mistakes = [*_incomplete(flags)]
    try:
        settings = Settings(**flags)
    except ValidationError as error:
        mistakes = [_mistake(details, flags) for details in error.errors()] + mistakes
    else:
        if not mistakes:
            return settings
    raise SettingsError(*mistakes)


def not_settings(environ: Mapping[str, str]) -> Iterator[str]:
    """A warning for each variable of *environ* that looks like a setting and is none."""
    known = [variable(name) for name in Settings.model_fields]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and not _KUBERNETES.fullmatch(name):
            close = get_close_matches(name, known, n=1)
            yield f"{name} is not a setting" + (f"; did you mean {close[0]}?" if close else "")


def outdated(flags: Mapping[str, Any]) -> Iterator[str]:
    """A warning for each value that is gone and still taken for another."""
    given = lowered(_given("transport", flags))
    if given in REPLACED_TRANSPORTS:
        yield f"{_source('transport', flags)} is '{given}', which is gone: '{REPLACED_TRANSPORTS[given]}' is used instead"


def variable(name: str) -> str:
    """The environment variable of the setting *name*."""
    return PREFIX + name.upper()


def flag(name: str) -> str:
    """The flag of the setting *name*."""
    return "--" + name.replace("_", "-")


def _source(name: str, flags: Mapping[str, Any]) -> str:
    return flag(name) if name in flags else variable(name)


def _given(name: str, flags: Mapping[str, Any]) -> Any:
    return flags[name] if name in flags else os.environ.get(variable(name))


def _incomplete(flags: Mapping[str, Any]) -> Iterator[str]:
    for name, needed in _NEEDS.items():
        if _given(name, flags) and not _given(needed, flags):
            yield f"{_source(name, flags)} needs {flag(needed)} ({variable(needed)}) too"


def _mistake(details: ErrorDetails, flags: Mapping[str, Any]) -> str:
    name = str(details["loc"][0])
    if details["type"] == "missing":
        return f"{flag(name)} ({variable(name)}) is missing: expected {_expected(name)}"
    given = _given(name, flags)
    shown = (
        redacted(str(given))
        if name in {"backend", "per_second_backend"}
        else ", ".join(map(str, given))
        if isinstance(given, list)
        else given
    )
    quoted = f"'{shown}'" if isinstance(shown, str) else shown
    return f"{_source(name, flags)} is {quoted}: expected {_reason(details)}"


def _expected(name: str) -> str:
    if name == "config":
        return "at least one file or directory with rules"
    raise AssertionError(f"{name} has a default")


def _reason(details: ErrorDetails) -> str:
    """What was expected, from pydantic's words."""
    text = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    text = text.partition(", unable to")[0]
    text = {"a valid boolean": "true or false", "a valid integer": "a whole number", "a valid number": "a number"}.get(
        text, text
    )
    return f"a number {text}" if text.startswith(("greater", "less")) else text
