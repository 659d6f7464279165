"""`/top` of all pods as one.

The caller does not say which servers are asked: it could make this one ask for anything. `--replicas dns:NAME` says it, and
they are asked on the port of the own admin address.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from rls.addresses import join_address, split_address, unix_path
from rls.api.admin.query import WrongRequest
from rls.api.admin.rows import Row
from rls.slices import Steps

MOST_PODS = 100
_AT_ONCE = 8
_SECONDS = 2.0
_ANSWER_BYTES = 512 << 10
_LOOPBACK = ("127.", "[::1]", "localhost")
_OK = b"HTTP/1.1 200 "
OTHER_VERSION = "not the answer of this version"
_TOP = frozenset({"instance", "pod", "rows", "unlisted_at_most"})
_ROW = frozenset({"domain", "rule", "entries"})
_NEAR = _ROW | {"share_of_limit"}
_COUNTED = _ROW | {"count", "error", "left_out", "one_in", "per_second", "since", "over_since"}


class Pods:
    """The pods of this service.

    Args:
        name: Of `--replicas dns:NAME`; "" where it is a number.
        admin: The own admin address, as it was given.
        token: Returns the token that all pods accept; "" without one.
    """

    def __init__(self, name: str, admin: str, token: Callable[[], Awaitable[str]] | None = None) -> None:
        self._name = name
        self._token = token
        self._admin = admin

    async def ask(self, path: str, parameters: Mapping[str, Any]) -> list[Row]:
        """What each pod answers for *path*: its JSON, or `{"address": …, "error": …}`.

        Raises:
            WrongRequest: They cannot be asked, or nobody knows which they are.
        """
        if not self._name:
            raise WrongRequest("this server does not know the other pods", "--replicas dns:NAME of a headless Service")
        if unix_path(self._admin) is not None or self._admin.startswith(_LOOPBACK):
            raise WrongRequest(
                f"the pods listen on {self._admin}, which other pods cannot reach", "--admin on an address of the pod"
            )
        port = split_address(self._admin)[1]
        try:
            async with asyncio.timeout(_SECONDS):
                loop = asyncio.get_running_loop()
                found = await loop.getaddrinfo(self._name, port, type=socket.SOCK_STREAM)
        except OSError as error:  # TimeoutError is one
            raise WrongRequest(f"{self._name}: {error}", "a name that DNS knows", 503) from error
        # A pod may have an address of each family: the first family counts.
        hosts = sorted({str(address[0]) for family, _, _, _, address in found if family == found[0][0]})
        permits = asyncio.Semaphore(_AT_ONCE)
        token = "" if self._token is None else await self._token()

        async def ask(host: str) -> Row:
            async with permits:
                return await _ask(host, port, f"{path}?{urlencode(parameters, doseq=True)}", token)

        return list(await asyncio.gather(*map(ask, hosts[:MOST_PODS])))


async def _ask(host: str, port: int, target: str, token: str) -> Row:
    """The JSON that a pod answers; redirects are not followed."""
    address = join_address(host, port)
    writer = None
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            # HTTP/1.0: the answer has no chunks, and ends with the connection.
            shown = f"Authorization: Bearer {token}\r\n" if token else ""
            writer.write(f"GET {target} HTTP/1.0\r\nHost: {address}\r\n{shown}\r\n".encode("latin-1"))
            answer = bytearray()
            while len(answer) <= _ANSWER_BYTES and (more := await reader.read(1 << 16)):
                answer += more
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        if not head.startswith(_OK):
            return {"address": address, "error": head.partition(b"\r\n")[0].decode("latin-1")[:100] or "no answer"}
        if len(answer) > _ANSWER_BYTES:
            return {"address": address, "error": f"an answer of more than {_ANSWER_BYTES} bytes"}
        found = json.loads(body)
        return found if is_top(found) else {"address": address, "error": OTHER_VERSION}
    except (OSError, ValueError) as error:
        return {"address": address, "error": str(error) or type(error).__name__}
    finally:
        if writer is not None:
            writer.close()


def is_top(found: Any) -> bool:
    """Whether it has what `merge_tops` reads."""
    if not isinstance(found, dict) or not found.keys() >= _TOP:
        return False
    rows = found["rows"]
    if not isinstance(rows, list):
        return False
    return all(isinstance(row, dict) and (row.keys() >= _COUNTED or row.keys() >= _NEAR) for row in rows)


def merge_tops(answers: Sequence[Row], order: str, most: int) -> Steps[Row]:
    """The answers of several pods to `/top` as one, in steps; the first one is our own.

    Counts of the same entries of the same rule add up, and so do the errors. Where a pod does not list entries that another one
    does, its `unlisted_at_most` is added to their error. A share of a limit is the highest.
    """
    mine = answers[0]
    by_instance = {answer["instance"]: answer for answer in answers if "error" not in answer}
    rows: dict[tuple[Any, ...], Row] = {}
    listed: dict[tuple[Any, ...], set[str]] = {}
    for instance, answer in by_instance.items():
        for row in answer["rows"]:
            key = (row["domain"], row["rule"], *((entry["key"], entry["value"]) for entry in row["entries"]))
            known = rows.get(key)
            rows[key] = dict(row) if known is None else _sum(known, row)
            listed.setdefault(key, set()).add(instance)
            yield
    for key, row in rows.items():
        if "error" in row:
            missing = (one for name, one in by_instance.items() if name not in listed[key])
            row["error"] += sum(one["unlisted_at_most"] for one in missing)
            row.pop("share_of_rule", None)  # of one pod
        yield
    failed = [answer for answer in answers if "error" in answer]
    return {
        "by": mine["by"],
        "window": mine["window"],
        "time": mine["time"],
        "pods": [answer["pod"] for answer in by_instance.values()],
        "pods_failed": failed,
        "unlisted_at_most": sum(answer["unlisted_at_most"] for answer in by_instance.values()),
        "rows": sorted(rows.values(), key=lambda row: row[order], reverse=True)[:most],
    }


def _sum(one: Row, other: Row) -> Row:
    if "share_of_limit" in one:
        return max(one, other, key=lambda row: float(row["share_of_limit"]))
    times = [row["over_since"] for row in (one, other) if row["over_since"]]
    return {
        **one,
        **{name: one[name] + other[name] for name in ("count", "error", "left_out")},
        "one_in": max(one["one_in"], other["one_in"]),
        "per_second": round(one["per_second"] + other["per_second"], 3),
        "since": min(one["since"], other["since"]),
        "over_since": min(times) if times else None,
    }
