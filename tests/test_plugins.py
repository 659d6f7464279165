"""Plug-ins that are wrong: messages name them, and what they raise ends nothing else."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rls import plugins
from rls.app.telemetry import Telemetry
from rls.core.update import CounterUpdate
from rls.engine.events import Observer, RequestContext, RulesLoaded
from rls.engine.guards import guarded
from rls.engine.layers import Layer
from rls.engine.limiter import Limiter
from rls.engine.rulebook import Rulebook
from rls.errors import BackendError, SettingsError
from rls.settings import Settings
from rls.stores.base import CounterStore, Done
from rls.stores.guarded import GuardedStore
from rls.stores.memory import MemoryStore
from tests.counters import until
from tests.tries import Step, descriptor, request, rule, rule_set

GROUP = "rls.observers"


@pytest.fixture
def install(tmp_path: Path, monkeypatch):
    """Installs a distribution with one plug-in."""

    def one(name: str, code: str, *, distribution: str = "made-up", point: str = "thing", group: str = GROUP) -> None:
        folder = tmp_path / distribution
        about = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        about.mkdir(parents=True)
        (folder / f"{name}.py").write_text(code)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{group}]\n{point} = {name}:make\n")
        monkeypatch.syspath_prepend(str(folder))
        sys.modules.pop(name, None)

    return one


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("import nowhere_at_all", "cannot be loaded: ModuleNotFoundError"),
        ("made = 1", "cannot be loaded: AttributeError"),
        ("def make(): 1 / 0", "failed: ZeroDivisionError"),
        ("make = 1", "failed: TypeError"),
        ("def make(): return 42", "made 42, expected a Observer"),
    ],
    ids=["raises", "import", "no name", "factory raises", "no factory", "another type"],
)
def test_a_plug_in_that_cannot_be_made_is_named(install, tmp_path: Path, code: str, expected: str) -> None:
    install("broken_observer", code)
    with pytest.raises(SettingsError) as caught:
        Telemetry(Settings(config=[str(tmp_path)]))
    assert str(caught.value).startswith(f"the plug-in thing of made-up (rls.observers) {expected}"), caught.value


def test_two_of_one_name_are_an_error(install) -> None:
    install("one_of_two", "make = 1", distribution="first")
    install("other_of_two", "make = 1", distribution="second")
    with pytest.raises(SettingsError, match=r"thing of (first|second) .* and .* thing of .* have one name"):
        plugins.points(GROUP)


class Failing(Observer):
    """Raises in all of its methods."""

    def prepare_rules(self, rules):
        yield
        raise KeyError("prepare")

    def decided(self, request: RequestContext) -> None:
        raise KeyError("decided")

    def rules_loaded(self, event: RulesLoaded) -> None:
        raise KeyError("loaded")


async def test_what_an_observer_raises_ends_nothing() -> None:
    errors: list[Exception] = []
    observer = guarded(Failing(), errors.append)
    limiter = Limiter(MemoryStore(), observers=[observer])
    book = Rulebook(limiter, [observer])
    book.add_source()
    assert await book.publish(0, Layer(rule_set({(Step("company"),): rule("company", 1)})))
    decision = await limiter.check(request(descriptor(("company", "acme"))))
    assert decision.statuses[0].limit_remaining == 0
    assert [error.args for error in errors] == [("prepare",), ("loaded",), ("decided",)]


async def test_what_an_observer_does_not_hear_costs_nothing() -> None:
    assert type(guarded(Observer(), print)).decided is Observer.decided


def test_what_observers_raise_is_logged_once_a_minute(install, tmp_path: Path, monkeypatch) -> None:
    install(
        "raising",
        "from rls.engine.events import Observer\nclass make(Observer):\n  def decided(self, request): 1 / 0\n",
    )
    logged = io.StringIO()
    monkeypatch.setattr(sys, "stderr", logged)
    *_, observer = Telemetry(Settings(config=[str(tmp_path)])).observers
    for _ in range(3):
        observer.decided(RequestContext())
    assert (
        logged.getvalue().count(
            "observer_failed more_since_last=0 observer='the plug-in thing of made-up (rls.observers)'"
        )
        == 1
    )


class Wrong(CounterStore):
    """Does what no store may do."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        if self.answer == "raise":
            raise KeyError("submit")
        if self.answer == "later":
            asyncio.get_running_loop().call_soon(done.counted, [1, 2, 3])
            return None
        return [1, 2]

    async def ping(self) -> None:
        raise KeyError("ping")

    async def aclose(self) -> None:
        raise KeyError("close")


@pytest.mark.parametrize("answer", ["raise", "later", "too many"])
async def test_what_a_store_does_wrong_is_decided_by_policies(answer: str) -> None:
    store = GuardedStore(Wrong(answer), "the plug-in x")
    update = CounterUpdate(b"key", 1, 10, 2**31, 60)
    with pytest.raises(BackendError, match=r"^the plug-in x failed: ") as caught:
        await store.update([update])
    assert caught.value.in_doubt
    with pytest.raises(BackendError, match=r"^the plug-in x failed: KeyError"):
        await store.ping()
    limiter = Limiter(store)
    limiter.load(rule_set({(Step("company"),): rule("company", 1)}))
    with pytest.raises(BackendError):  # no policy answers for it
        await limiter.check(request(descriptor(("company", "acme"))))
    await until(lambda: limiter.policies.reason)
    await limiter.policies.aclose()
    await store.aclose()


@pytest.mark.parametrize("command", [["check", "rules.yaml"], ["serve", "--config", "rules.yaml"], ["schema"]])
def test_commands_name_an_algorithm_that_cannot_be_loaded(install, tmp_path: Path, command: list[str]) -> None:
    install("broken_algorithm", "1 / 0", group="rls.algorithms")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-m", "rls", *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    said = (
        "rls: the plug-in thing of made-up (rls.algorithms) cannot be loaded: ZeroDivisionError('division by zero')\n"
    )
    assert (found.returncode, found.stderr) == (2, said)
