"""Flags and environment → Settings, or all their mistakes at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from rls.addresses import redacted
from rls.alike import closest
from rls.errors import SettingsError
from rls.settings.renamed import RENAMED, Given
from rls.settings.schema import PREFIX, Flag, Settings, flag, variable
from rls.settings.values import REPLACED_TRANSPORTS, explained, lowered

# Kubernetes sets these in every container for a Service called `rls` or `rls-…`; they are never settings.
_KUBERNETES = re.compile(r"RLS_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)")
# A setting, and the one without which it has no effect.
_NEEDS = {
    "tls_cert": "tls_key",
    "tls_key": "tls_cert",
    "tls_client_ca": "tls_cert",
    "tls_client_san": "tls_client_ca",
    "hash_keys": "hash_secret_file",
}
_NUMBERS = frozenset(
    {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}
    | {"int_parsing", "int_from_float", "int_parsing_size", "float_parsing"}
)
"""What pydantic calls mistakes in numbers."""


def read(flags: Mapping[str, Any]) -> Settings:
    """Settings from *flags*, by the names of settings, and for the rest from the environment. Flags win.

    Raises:
        SettingsError: A setting cannot be used, or a variable is none; each mistake has its line.
    """
    given = Given(flags, os.environ)
    mistakes = [*given.mistakes, *_incomplete(given)]
    if lowered(given.value("allow_unknown_variables")) not in _ON:
        mistakes += unknown_variables(os.environ)
    try:
        settings = Settings(**given.values)
    except ValidationError as error:
        mistakes = [_mistake(details, given) for details in error.errors()] + mistakes
    else:
        if not mistakes:
            return settings
    raise SettingsError(*mistakes)


def unusable(given: Mapping[str, str]) -> dict[str, str]:
    """Those of the settings *given*, texts by name, with which no server starts, each with what was expected."""
    mistakes = {name: f"{variable(needed)} as well" for name, needed in _NEEDS.items() if not given.get(needed)}
    values: dict[str, Any] = {"config": "rules", **given}
    try:
        Settings(**values)
    except ValidationError as error:
        mistakes |= {str(details["loc"][0]): _reason(details) for details in error.errors()}
    return {name: reason for name, reason in mistakes.items() if given.get(name)}


_ON = (True, "1", "true", "t", "yes", "y", "on")  # as pydantic reads a bool


def unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable of *environ* that begins like a setting and is none. Empty ones count as not set."""
    known = [name.upper() for name in Settings.model_fields]
    old = [name.upper() for name in RENAMED]
    for name in sorted(environ):
        capitals = name.upper()
        rest = capitals.removeprefix(PREFIX)
        if rest == capitals or not environ[name] or _KUBERNETES.fullmatch(name):
            continue
        if rest in known + old:
            if name != capitals:
                yield f"{name} is not a setting: expected it in capitals, {capitals}"
            continue
        close = closest(rest, known)
        yield f"{name} is not a setting" + (f"; did you mean {PREFIX}{close[0]}?" if close else "")


def deprecated(flags: Mapping[str, Any]) -> Iterator[str]:
    """A warning for each old name or value of a setting, which one more release reads."""
    given = Given(flags, os.environ)
    yield from given.warnings
    transport = lowered(given.value("transport"))
    if transport in REPLACED_TRANSPORTS:
        instead = REPLACED_TRANSPORTS[transport]
        yield f"{given.source('transport')} is '{transport}', which no longer exists: '{instead}' is used instead"


def _incomplete(given: Given) -> Iterator[str]:
    for name, needed in _NEEDS.items():
        if given.value(name) and not given.value(needed):
            yield f"{given.source(name)} also needs {flag(needed)} ({variable(needed)})"
    if given.value("hash_secret_file") and lowered(given.value("key_format")) == "compat":
        yield (
            f"{given.source('hash_secret_file')} needs the key format 'v1', not 'compat' ({given.source('key_format')}): "
            "envoyproxy/ratelimit, which compat shares counters with, has only plain values in their names"
        )


def _mistake(details: ErrorDetails, given: Given) -> str:
    name = str(details["loc"][0])
    if details["type"] == "missing":
        return f"{flag(name)} ({variable(name)}) is missing: expected {_expected(name)}"
    value = given.value(name)
    shown = (
        redacted(str(value))
        if name in {"backend", "per_second_backend"}
        else ", ".join(map(str, value))
        if isinstance(value, list)
        else value
    )
    return explained(given.source(name), shown, _reason(details))


def _expected(name: str) -> str:
    if name == "config":
        return "at least one file or directory with rules"
    raise AssertionError(f"{name} has a default")


def _reason(details: ErrorDetails) -> str:
    """What was expected, from pydantic's words or a parser's."""
    if details["type"] in _NUMBERS:
        return _number(Settings.model_fields[str(details["loc"][0])])
    text = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    text = text.partition(", unable to")[0]
    return "true or false" if text == "a valid boolean" else text


def _number(field: FieldInfo) -> str:
    """The numbers that *field* takes, with both of their bounds."""
    above, least, most = (
        next((getattr(one, name) for one in field.metadata if hasattr(one, name)), None) for name in ("gt", "ge", "le")
    )
    if any(isinstance(one, Flag) and one.metavar == "DURATION" for one in field.metadata):
        return f"a duration above {above}, such as 10ms, 5s or 1m30s"
    kind = "a whole number" if field.annotation is int else "a number"
    if above is not None:
        return f"{kind} above {above}" + ("" if most is None else f", up to {most}")
    return f"{kind} from {least}" + ("" if most is None else f" to {most}")
