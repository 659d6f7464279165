"""What a rate limit says, and what decides while it cannot be counted."""

from __future__ import annotations

from rls.config.algorithms import ALGORITHMS
from rls.config.reader import Fields, Reader, meant, one_of, shorten
from rls.config.schema import RATE_LIMIT, SHAPES
from rls.core.model import FIXED_WINDOW, MAX_WINDOW_SECONDS, RateLimit, Unit
from rls.core.rules import OnBackendError

UNITS = {unit.name: unit for unit in Unit}
_UNIT_WORDS = SHAPES[RATE_LIMIT].keys["unit"].words
_POLICIES = {str(policy): policy for policy in OnBackendError}


def rate_limit(reader: Reader, descriptor: Fields, fields: Fields, name: str) -> RateLimit | None:
    """The limit of *descriptor* that *fields* say, with the name *name*; None where it is unlimited, or wrong."""
    if fields.flag("unlimited"):
        if fields.text("unit").upper() in UNITS:
            reader.error(fields["unit"], "`unit` beside `unlimited`, expected only one of them")
        return None
    count, multiplier = fields.value("requests_per_unit"), fields.value("unit_multiplier")
    if fields.lacks("requests_per_unit"):
        at = fields.get("requests_per_unit", descriptor["rate_limit"])
        reader.error(at, "the rate limit has no `requests_per_unit`, expected a number; 0 refuses every request")
    unit, algorithm = _unit(reader, descriptor, fields), _algorithm(reader, fields)
    if unit is None or count is None:
        return None
    limit = RateLimit(count, unit, 1 if multiplier is None else multiplier, name, algorithm)
    if limit.window_seconds > MAX_WINDOW_SECONDS:
        reader.error(
            fields["unit_multiplier"],
            f"`unit_multiplier` is {multiplier}, expected {MAX_WINDOW_SECONDS // unit.seconds} at most: 100 years",
        )
    return limit


def on_backend_error(reader: Reader, fields: Fields) -> OnBackendError | None:
    """What *fields* say of it; None where they say nothing, or something wrong."""
    text = fields.text("on_backend_error")
    policy = _POLICIES.get(text.lower())
    if policy is None and text:
        hint = meant(text, _POLICIES)
        reader.error(fields["on_backend_error"], f"`on_backend_error` is `{shorten(text)}`, {hint}")
    return policy


def _algorithm(reader: Reader, fields: Fields) -> str:
    text = fields.text("algorithm")
    algorithm = text.lower() or FIXED_WINDOW
    if algorithm not in ALGORITHMS:
        reader.error(fields["algorithm"], f"unknown algorithm `{shorten(text)}`, {meant(text, ALGORITHMS)}")
    return algorithm


def _unit(reader: Reader, descriptor: Fields, fields: Fields) -> Unit | None:
    if fields.lacks("unit"):
        at = fields.get("unit", descriptor["rate_limit"])
        reader.error(at, f"the rate limit has no `unit`, expected {one_of(_UNIT_WORDS)}")
        return None
    text = fields.text("unit")
    unit = UNITS.get(text.upper())
    if unit is None and text:
        reader.error(fields["unit"], f"unknown unit `{shorten(text)}`, {meant(text, _UNIT_WORDS)}")
    return unit
