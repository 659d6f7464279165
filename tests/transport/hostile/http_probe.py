"""Asks for /readyz and /healthz, 50 times a second, each on a connection of its own as kubelet does.

A process of its own, so that a busy attacker does not slow it. It ends when its standard input does, and prints how many
were answered well, what came of the others, the longest that one took, and how long it waited for a CPU, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter

from examples.mesh.http import ask
from tests.transport.hostile.waiting import waited

INTERVAL = 0.02
TIMEOUT = 10.0


def main(port: int) -> None:
    stop = threading.Event()
    threading.Thread(target=_set_at_end, args=(stop,), daemon=True).start()
    outcomes = Counter[str]()
    longest = 0.0
    while not stop.is_set():
        for path in ("/readyz", "/healthz"):
            began = time.monotonic()
            try:
                outcomes[f"{path} {ask(port, path, timeout=TIMEOUT).status}"] += 1
            except OSError as error:
                outcomes[f"{path} {error!r}"] += 1
            longest = max(longest, time.monotonic() - began)
        if outcomes.total() == 2:
            _say("ready")
        stop.wait(INTERVAL)
    _say(json.dumps({"outcomes": outcomes, "longest": longest, "waited": waited()}))


def _set_at_end(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
