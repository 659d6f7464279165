"""Calls a server 50 times a second until its standard input ends, then prints what came of it, as JSON.

A process of its own, so that a busy attacker does not slow it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from typing import Any

import grpc

from rls.api.service import SHOULD_RATE_LIMIT
from rls.proto import rls_pb2
from tests.transport.hostile.waiting import waited

INTERVAL = 0.02
TIMEOUT = 1.0


def main(address: str) -> None:
    stop = threading.Event()
    threading.Thread(target=_set_at_end, args=(stop,), daemon=True).start()
    request = rls_pb2.RateLimitRequest(domain="probe", descriptors=[{"entries": [{"key": "probe", "value": "1"}]}])
    message = request.SerializeToString()
    outcomes = Counter[str]()
    options = [("grpc.max_reconnect_backoff_ms", 100), ("grpc.initial_reconnect_backoff_ms", 50)]
    with grpc.insecure_channel(address, options) as channel:
        call: Any = channel.unary_unary(SHOULD_RATE_LIMIT)
        last = time.monotonic()
        gap = 0.0
        while not stop.is_set():
            began = time.monotonic()
            try:
                call(message, timeout=TIMEOUT, wait_for_ready=True)
            except grpc.RpcError as error:
                outcomes[error.code().name] += 1
            else:
                outcomes["OK"] += 1
                gap = max(gap, time.monotonic() - last)
                last = time.monotonic()
                if outcomes["OK"] == 1:
                    _say("ready")
            stop.wait(max(0.0, began + INTERVAL - time.monotonic()))
        gap = max(gap, time.monotonic() - last)
    _say(json.dumps({"outcomes": outcomes, "gap": gap, "waited": waited()}))


def _set_at_end(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
