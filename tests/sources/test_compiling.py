"""Compiling without a pause: in slices and in a process of its own, the same comes of a file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterable
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rls import slices
from rls.config.compile import Compiled, compile_file, compile_in_steps
from rls.core.rules import TrieNode
from rls.engine.digests import digest_children
from rls.engine.old_rules import OldRules
from rls.sources.compile_process import compile_and_send
from rls.sources.compiling import LARGE_BYTES, compile_pieces
from rls.sources.transfer import Frame, Receiver, Sender
from tests.counters import until

ROOT = Path(__file__).parents[2]
MODULE = import_module("rls.sources.compiling")
FILES = [ROOT / "config" / "descriptors.yaml", *sorted((ROOT / "tests/config/bad").iterdir())]
RICH = """\
domain: rich
refund_over_limit: true
descriptors:
- key: a
  rate_limit: {unit: day, unit_multiplier: 3, requests_per_unit: 7, name: n, replaces: [{name: m}, {name: nowhere}]}
  shadow_mode: true
  metadata: {text: t, number: 1.5, list: [1, {deep: true}], none: null}
  descriptors:
  - {key: b, value: "x*", share_threshold: true, rate_limit: {unlimited: true, name: m}, on_backend_error: deny}
  - {key: b, value: "*y", value_to_metric: true, detailed_metric: true, rate_limit: {unit: week, requests_per_unit: 0}}
  - {key: b, quota_mode: true, rate_limit: {unit: week, requests_per_unit: 0}}
- {key: "0", value: "0"}
---
domain: other
"""


def nodes(node: TrieNode) -> Any:
    """All that a trie says, in order."""
    said = [(slot, getattr(node, slot)) for slot in ("text", "share_threshold", "value_to_metric", "place", "digest")]
    rule = node.rule and [(slot, getattr(node.rule, slot)) for slot in node.rule.__slots__]
    children = [[(entry, nodes(child)) for entry, child in found.items()] for found in (node.exact, node.defaults)]
    wildcards = [
        (key, [(wildcard, nodes(child)) for wildcard, child in found]) for key, found in node.wildcards.items()
    ]
    return said, rule, children, wildcards


def all_of(compiled: Compiled) -> Any:
    documents = []
    for document in compiled.documents:
        slices.finish(digest_children(document.root))
        named = sorted((rule.id, rule.limit) for rule in document.named)
        documents.append((document.domain, nodes(document.root), named, document.replaced, document.refund_over_limit))
    return documents, compiled.diagnostics, compiled.warnings


def sent(file: str, text: bytes) -> Compiled:
    receiver = Receiver(file)
    frames: list[Frame] = []
    compile_and_send(file, text, frames.append)
    for frame in frames:
        assert not receiver.ended
        receiver.take(frame)
    assert receiver.ended
    return receiver.compiled()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_sent_is_what_is_received(path: Path) -> None:
    text = path.read_bytes()
    assert all_of(sent("f", text)) == all_of(compile_file("f", text))


def test_nothing_that_rules_can_say_is_lost_on_the_way() -> None:
    compiled = compile_file("f", RICH.encode())
    assert not compiled.diagnostics
    assert compiled.warnings
    assert all_of(sent("f", RICH.encode())) == all_of(compiled)


def test_warnings_below_a_mistake_are_the_same() -> None:
    """Rules are sent away while others are compiled, but not from below a descriptor that is not complete."""
    text = b"domain: d\ndescriptors:\n- ky: a\n  descriptors:\n  - {key: b, value: '*'}\n  - {key: b}\n"
    compiled = compile_file("f", text)
    assert compiled.diagnostics
    assert "is never reached" in str(compiled.warnings)
    assert all_of(sent("f", text)) == all_of(compiled)


def test_rules_are_sent_while_others_are_compiled() -> None:
    """The server need not wait for the last one, nor does the process that compiles hold all of them."""
    held: list[int] = []
    kinds: list[str] = []

    def take(domain: str, root: TrieNode) -> None:
        held.append(len(root.exact))
        sender.take(domain, root)

    sender = Sender(lambda frame: kinds.append(frame[0]))
    sender.end(slices.finish(compile_in_steps("f", rules(1_000), take)))
    assert kinds == ["document", *["nodes"] * 10, "end"]
    assert max(held) <= 10


def rules(number: int) -> bytes:
    lines = "".join(
        f"- {{key: k, value: v{n}, rate_limit: {{unit: day, requests_per_unit: {n}}}}}\n" for n in range(number)
    )
    return f"domain: d\ndescriptors:\n{lines}".encode()


@pytest.mark.parametrize(
    "text",
    [rules(5_000), rules(5_000) + b"- {ky: a}\n", rules(5_000) + b"  - {ky: a}\n", b"a: b\n" * 40_000],
    ids=["good", "one mistake", "no YAML", "many mistakes"],
)
async def test_a_large_file_comes_to_the_same_as_a_small_one(text: bytes) -> None:
    assert len(text) > LARGE_BYTES
    pieces = [text[:100_000], text[100_000:]]
    assert all_of(await compile_pieces("f", pieces)) == all_of(compile_file("f", text))


async def test_what_was_taken_over_before_a_mistake_is_freed_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """To drop a large trie at once would hold up the loop."""
    freed: list[int] = []

    class Noted(OldRules):
        def free(self, roots: Iterable[TrieNode], caches: Iterable[dict[Any, Any]] = ()) -> None:
            kept = list(roots)
            freed.extend(len(root.exact) for root in kept)
            super().free(kept, caches)

    monkeypatch.setattr(MODULE, "OldRules", Noted)
    assert not (await compile_pieces("f", [rules(5_000)])).diagnostics
    assert not freed
    assert (await compile_pieces("f", [rules(5_000) + b"- {ky: a}\n"])).diagnostics
    assert freed == [5_000]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_where_processes_end_early_or_hang_the_loop_compiles(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the kernel ends them for lack of memory."""
    start, started = subprocess.Popen, []

    def hit(*arguments: Any, **options: Any) -> Any:
        started.append(start(*arguments, **options))
        os.kill(started[-1].pid, number)
        return started[-1]

    monkeypatch.setattr(MODULE.subprocess, "Popen", hit)
    monkeypatch.setattr(MODULE, "_SILENT_SECONDS", 0.2)
    text = rules(5_000)
    assert all_of(await compile_pieces("f", [text])) == all_of(compile_file("f", text))
    assert len(started) == 2
    assert [process.wait(10) for process in started] == [-signal.SIGKILL] * 2


async def test_a_process_is_reaped_where_the_system_gives_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = subprocess.Popen, []

    def noted(*arguments: Any, **options: Any) -> Any:
        started.append(start(*arguments, **options))
        return started[-1]

    def refused(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(MODULE.subprocess, "Popen", noted)
    monkeypatch.setattr(MODULE.threading.Thread, "start", refused)
    monkeypatch.setattr(MODULE, "_REAP_SECONDS", 0.1)
    text = rules(5_000)
    assert all_of(await compile_pieces("f", [text])) == all_of(compile_file("f", text))
    await until(lambda: started[0].returncode is not None)


async def test_without_processes_the_loop_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: Any, **options: Any) -> Any:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(MODULE.subprocess, "Popen", refused)
    text = rules(5_000)
    assert all_of(await compile_pieces("f", [text])) == all_of(compile_file("f", text))


async def test_a_load_that_is_cancelled_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    start = subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> Any:
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(MODULE.subprocess, "Popen", noted)
    task = asyncio.create_task(compile_pieces("f", [rules(100_000)]))
    while not started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await asyncio.to_thread(started[0].wait, 20) == -signal.SIGKILL


@pytest.mark.parametrize("depth", [1, 2, 50])
def test_steps_are_small_wherever_the_rules_stand(depth: int) -> None:
    """Between two steps a bounded number of descriptors is compiled: all at the top, or below others."""
    above = "".join(f"{'  ' * n}- key: k{n}\n{'  ' * n}  descriptors:\n" for n in range(depth - 1))
    below = "".join(f"{'  ' * (depth - 1)}- {{key: k, value: v{n}}}\n" for n in range(3_000))
    text = f"domain: d\ndescriptors:\n{above}{below}".encode()
    steps = sum(1 for _ in compile_in_steps("f", text))
    assert steps >= 3_000 / 20 + 3_000 / 10


def test_the_process_that_compiles_leaves_the_cpu_after_each_millisecond(monkeypatch):
    now, naps = 0.0, []

    def clock():
        nonlocal now
        now += 0.0004
        return now

    def sleep(seconds):
        naps.append(now)
        assert 0 < seconds <= 1e-4

    monkeypatch.setattr("rls.sources.compile_process.time.monotonic", clock)
    monkeypatch.setattr("rls.sources.compile_process.time.sleep", sleep)
    many = "".join(
        f"- {{key: k, value: v{number}, rate_limit: {{unit: day, requests_per_unit: 1}}}}\n" for number in range(3000)
    )
    compile_and_send("many.yaml", f"domain: many\ndescriptors:\n{many}".encode(), lambda _: None)
    assert len(naps) > 10
    assert {round(after - before, 4) for before, after in pairwise(naps)} == {0.0016}
