"""Prints what `Replicas` finds for a name, with short times: `python -m tests.watch_replicas NAME`."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from rls.app.replicas import Replicas


async def watch(name: str) -> None:
    said = ""

    def say(text: str) -> None:
        nonlocal said
        if text != said:
            said = text
            print(text, flush=True)  # noqa: T201

    replicas = Replicas(
        name,
        on_count=lambda count: say(f"count {count}"),
        unknown=lambda text: say(f"unknown {text}") if text else None,
        interval=0.05,
        patience=0.5,
        lasting=1.0,
    )
    await replicas.poll()
    await replicas.run()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(watch(sys.argv[1]))
