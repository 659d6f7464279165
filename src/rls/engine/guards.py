"""Plug-ins whose exceptions end nothing but what they were asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rls.core.rules import RuleSet
from rls.engine.events import Observer
from rls.slices import Steps


def guarded(observer: Observer, on_error: Callable[[Exception], None]) -> Observer:
    """*observer*, behind a guard: *on_error* is called with what its methods raise.

    It overrides what *observer* overrides, so what *observer* does not hear still costs nothing.
    """
    guards: dict[str, Callable[..., object]] = dict.fromkeys(vars(Observer), _guarded)
    guards["prepare_rules"] = _guarded_steps
    methods = {
        name: guard(getattr(observer, name), on_error)
        for name, guard in guards.items()
        if not name.startswith("_") and getattr(type(observer), name) is not getattr(Observer, name)
    }
    made: Observer = type("Guarded", (Observer,), methods)()
    return made


def _guarded(method: Callable[[Any], None], on_error: Callable[[Exception], None]) -> Callable[[Observer, Any], None]:
    def call(_: Observer, event: Any) -> None:
        try:
            method(event)
        except Exception as error:  # noqa: BLE001 - see above
            on_error(error)

    return call


def _guarded_steps(
    prepare: Callable[[RuleSet], Steps[None]], on_error: Callable[[Exception], None]
) -> Callable[[Observer, RuleSet], Steps[None]]:
    def steps(_: Observer, rules: RuleSet) -> Steps[None]:
        try:
            yield from prepare(rules)
        except Exception as error:  # noqa: BLE001 - see above
            on_error(error)

    return steps
