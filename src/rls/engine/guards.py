"""Plug-ins whose exceptions end nothing but what they were asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rls.core.rules import RuleSet
from rls.engine.events import Observer
from rls.slices import Steps

_EVENTS = ("decided", "judged", "store_failed", "batch_done", "rules_loaded", "rules_rejected")


def guarded(observer: Observer, on_error: Callable[[Exception], None]) -> Observer:
    """*observer*, behind a guard: *on_error* is called with what its methods raise.

    It overrides what *observer* overrides, so what *observer* does not hear still costs nothing.
    """
    methods: dict[str, object] = {
        name: _guarded(getattr(observer, name), on_error)
        for name in _EVENTS
        if getattr(type(observer), name) is not getattr(Observer, name)
    }
    prepare = getattr(observer, "prepare_rules", None)
    if prepare is not None:
        methods["prepare_rules"] = _guarded_steps(prepare, on_error)
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
