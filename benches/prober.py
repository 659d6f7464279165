"""`python -m benches.prober`: a few calls a second by grpcio's client, for as long as its standard input is open.

It has a process of its own. Each connection of it makes one call at a time, as a quiet neighbour of those that load a server would.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc

from benches.frames import PATH
from benches.messages import message

CALLS_PER_SECOND = 200
_CONNECTIONS = 10
_GIVE_UP_SECONDS = 1.0
_READY_SECONDS = 10.0
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Probed:
    """What became of the calls.

    Attributes:
        took_ms: From each call to its answer, in order of these times. A second for calls that got none.
        failed: Calls that got no answer, by status.
    """

    took_ms: list[float]
    failed: dict[str, int]

    def quantile_ms(self, share: float) -> float:
        """The time within which a *share* of the calls were answered."""
        return self.took_ms[min(len(self.took_ms) - 1, int(share * len(self.took_ms)))] if self.took_ms else 0.0


class Prober:
    """Calls from when it is made to `stop`.

    Args:
        certificate: Of a server with TLS, to trust; None for plaintext.
        prefix: The start of the command, such as one that keeps it on a core.
    """

    def __init__(self, address: str, certificate: Path | None, prefix: Sequence[str]) -> None:
        command = [*prefix, sys.executable, "-m", "benches.prober", address]
        if certificate is not None:
            command += ["--trust", str(certificate)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=_ROOT
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the prober failed: {self._process.communicate()[1].strip()[-2000:]}")

    def stop(self) -> Probed:
        """End, and tell."""
        out, error = self._process.communicate("")
        if self._process.returncode:
            raise RuntimeError(f"the prober failed: {error.strip()[-2000:]}")
        return Probed(**json.loads(out))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


async def _probe(address: str, trust: Path | None) -> Probed:
    took: list[float] = []
    failed = Counter[str]()
    channels = [_channel(address, trust, number) for number in range(_CONNECTIONS)]
    ended = asyncio.get_running_loop().create_task(asyncio.to_thread(sys.stdin.read))

    async def calls(channel: grpc.aio.Channel, number: int) -> None:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH)
        request, every = message(1, f"prober-{number}"), _CONNECTIONS / CALLS_PER_SECOND
        await asyncio.sleep(every * number / _CONNECTIONS)
        while not ended.done():
            began = time.monotonic()
            try:
                await call(request, timeout=_GIVE_UP_SECONDS)
                took.append((time.monotonic() - began) * 1000)
            except grpc.aio.AioRpcError as error:
                took.append(_GIVE_UP_SECONDS * 1000)
                failed[error.code().name] += 1
            await asyncio.sleep(max(0.0, began + every - time.monotonic()))

    await asyncio.wait_for(asyncio.gather(*(channel.channel_ready() for channel in channels)), _READY_SECONDS)
    print("ready", flush=True)
    await asyncio.gather(*(calls(channel, number) for number, channel in enumerate(channels)))
    await asyncio.gather(*(channel.close() for channel in channels))
    return Probed(sorted(round(ms, 2) for ms in took), dict(failed))


def _channel(address: str, trust: Path | None, number: int) -> grpc.aio.Channel:
    # Channels with equal options would share a connection.
    options = [("benches.number", number), ("grpc.use_local_subchannel_pool", 1)]
    if trust is None:
        return grpc.aio.insecure_channel(address, options)
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(trust.read_bytes()), options)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.prober", description=__doc__)
    parser.add_argument("address", help="host:port")
    parser.add_argument("--trust", type=Path, help="the certificate of a server with TLS")
    arguments = parser.parse_args()
    probed = asyncio.run(_probe(arguments.address, arguments.trust))
    print(json.dumps({"took_ms": probed.took_ms, "failed": probed.failed}))


if __name__ == "__main__":
    main()
