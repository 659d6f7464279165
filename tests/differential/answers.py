"""One case given to both servers, and where their answers differ."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import grpc

from rls.core.keys import KeyFormat
from rls.errors import RlsError
from rls.sources.load import load
from rls.stores.base import CounterStore
from rls.stores.over_limit_cache import OverLimitCache
from rls.tools.rule_tests.service import service_of
from tests.differential.cases import Case
from tests.differential.reference import Reference
from tests.recorded import Recorded
from tests.scenario import (
    Response,
    Scenario,
    message_of,
    show_headers,
    show_metadata,
    show_status,
)

Answer: TypeAlias = dict[str, Any]
OWN_METADATA = ("rule", "name", "place", "descriptor", "seconds_until_reset")

_domains = count(1)


@dataclass(frozen=True)
class Variant:
    """Settings that both servers have: *reference* in its words, *settings* in those of scenarios."""

    name: str
    reference: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    over_limit_cache: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The same for `rls serve`, with the reference's names of counters."""
        words = {f"RLS_{name}": value for name, value in self.reference.items() if name != "LOCAL_CACHE_SIZE_IN_BYTES"}
        remembered = "1000" if self.over_limit_cache else "0"
        return {
            **words,
            "RLS_OVER_LIMIT_CACHE_SIZE": remembered,
            "RLS_KEY_FORMAT": "compat",
            "RLS_KEY_PREFIX": "served:",
        }


_HEADERS = {"LIMIT_RESPONSE_HEADERS_ENABLED": "true"}
_METADATA = {"RESPONSE_DYNAMIC_METADATA": "true"}
_NAMES = {"LIMIT_LIMIT_HEADER": "X-Limit", "LIMIT_REMAINING_HEADER": "X-Left", "LIMIT_RESET_HEADER": "X-Reset"}
VARIANTS = (
    Variant("plain"),
    Variant("headers", _HEADERS, {"limit_headers": True}),
    Variant("metadata", _METADATA, {"dynamic_metadata": True}),
    Variant(
        "shadow",
        {**_HEADERS, **_METADATA, **_NAMES, "SHADOW_MODE": "true"},
        {"shadow_mode": True, "limit_headers": list(_NAMES.values()), "dynamic_metadata": True},
    ),
    Variant("quota", {**_HEADERS, "QUOTA_MODE": "true"}, {"quota_mode": True, "limit_headers": True}),
    Variant(
        "remembered",
        {**_HEADERS, "LOCAL_CACHE_SIZE_IN_BYTES": "1000000"},
        {"limit_headers": True},
        over_limit_cache=True,
    ),
)


class Asked(Protocol):
    """What can be given rules and requests."""

    def load(self, files: Mapping[str, str], /) -> None: ...

    def ask(self, message: bytes, /) -> bytes: ...


class InProcess:
    """`rls` from message to message, without a socket; its rules are those that stand in *directory* when it loads."""

    def __init__(
        self, variant: Variant, backend: CounterStore, key_format: KeyFormat, directory: Path, runner: asyncio.Runner
    ) -> None:
        self.recorded = Recorded(OverLimitCache(backend) if variant.over_limit_cache else backend)
        settings = {**variant.settings, "key_format": key_format, "key_prefix": "in-process:"}
        self._limiter, self._service = service_of(settings, self.recorded)
        self._directory = directory
        self._runner = runner

    def load(self, _: Mapping[str, str]) -> None:
        loaded = load([self._directory])
        assert not loaded.diagnostics, f"the reference takes what rls refuses: {loaded.diagnostics}"
        self._limiter.load(loaded.rules)
        self.recorded.hits.clear()

    def keys(self) -> set[bytes]:
        """Of the counters that were hit since it loaded."""
        return {hit.key for hit in self.recorded.hits}

    def ask(self, message: bytes) -> bytes:
        return self._runner.run(self._service.answer(message))


class InTurn:
    """Servers that count in one Redis, asked in turn as if they were one."""

    def __init__(self, *servers: Asked) -> None:
        self._servers = servers
        self._turns = cycle(servers)

    def load(self, files: Mapping[str, str]) -> None:
        self._turns = cycle(self._servers)
        for server in self._servers:
            server.load(files)

    def ask(self, message: bytes) -> bytes:
        return next(self._turns).ask(message)


class TooSlow(Exception):
    """All of a case could not be asked within one second, as it must be for its windows."""


class Pair:
    """The reference and ours under one variant of settings.

    Args:
        variant: The settings of all.
        reference: A server that nobody else asks.
        exact: Ours with keys of which none are equal for different counters, as they can be in the reference.
        compatible: Others of ours by name, with the keys of the reference; at least one runs in this process.
    """

    def __init__(
        self, variant: Variant, reference: Reference, exact: InProcess, compatible: Mapping[str, Asked]
    ) -> None:
        self.variant = variant
        self.reference = reference
        self._exact = exact
        self._compatible = compatible
        self._theirs: list[Answer] = []

    def differ(self, case: Case) -> str:
        """Where the answers to *case* differ first; "" where they do not.

        Raises:
            TooSlow: On a busy machine, no second was long enough for it.
        """
        for _ in range(20):
            difference = self._compared(case.in_domains(f"-{next(_domains)}"))
            if difference is not None:
                return difference
        raise TooSlow

    def scenario(self, case: Case, about: str) -> Scenario:
        """*case* with what the reference answered to it last."""
        files = case.files()
        rules = files["0.yaml"] if len(files) == 1 else files
        steps = [{**step, **expected(their)} for step, their in zip(case.steps, self._theirs, strict=True)]
        return Scenario(about, rules, steps, self.variant.settings)

    def _compared(self, case: Case) -> str | None:
        """None where a second went by meanwhile, so that windows may have: to be asked again."""
        files = case.files()
        servers = {"exact keys": self._exact, **self._compatible}
        for server in (self.reference, *servers.values()):
            server.load(files)
        messages = [message_of(step) for step in case.steps]
        second = int(time.time())
        theirs = self._theirs = [self._told(self._ask_reference, message, files) for message in messages]
        answers = {name: [self._told(server.ask, message) for message in messages] for name, server in servers.items()}
        if int(time.time()) != second:
            return None
        if self._ambiguous():
            del answers["exact keys"]
        if self.variant.over_limit_cache and self._limits_differ():
            return ""
        for name, answered in answers.items():
            for number, (our, their) in enumerate(zip(answered, theirs, strict=True), 1):
                if difference := difference_between(our, their):
                    return f"step {number}, {name}, {difference}"
        return ""

    @property
    def _as_named_there(self) -> InProcess:
        return next(server for server in self._compatible.values() if isinstance(server, InProcess))

    def _ambiguous(self) -> bool:
        """Whether two of the counters have one name in the reference."""
        return len(self._exact.keys()) != len(self._as_named_there.keys())

    def _limits_differ(self) -> bool:
        """Whether a name was asked about with two limits: what the reference remembers of one is for all of them.

        In the first hour of a day that may be the counters of an hour and of the day.
        """
        hits = self._as_named_there.recorded.hits
        return len({(hit.key, hit.limit) for hit in hits}) > len(self._as_named_there.keys())

    def _ask_reference(self, message: bytes, files: Mapping[str, str]) -> bytes:
        if "dynamic_metadata" in self.variant.settings:
            # It merges nested metadata into the rules themselves, so that an answer shows what others were given.
            self.reference.load(files)
        return self.reference.ask(message)

    @staticmethod
    def _told(ask: Callable[..., bytes], *arguments: object) -> Answer:
        try:
            response = Response.FromString(ask(*arguments))
        except grpc.RpcError as error:
            return {"error": error.details()}
        except RlsError as error:
            return {"error": str(error)}
        metadata = {key: value for key, value in show_metadata(response, Path()).items() if key not in OWN_METADATA}
        if "descriptors" not in metadata:
            metadata.pop("domain", None)  # of our own, too
        for descriptor in metadata.get("descriptors", []):
            if "limit" in descriptor:  # protobuf's text format, of which each build has its own white space
                descriptor["limit"] = re.sub(r"\s+", " ", descriptor["limit"])
        return {
            "answer": Response.Code.Name(response.overall_code),
            "statuses": [show_status(status) for status in response.statuses],
            "headers": show_headers(response),
            "metadata": metadata,
        }


def difference_between(ours: Answer, theirs: Answer) -> str:
    """What is different; "" where there is nothing."""
    for key in (*theirs, *ours):
        if ours.get(key) != theirs.get(key):
            return f"{key}:\n  rls:       {ours.get(key)}\n  reference: {theirs.get(key)}"
    return ""


def expected(answer: Answer) -> Answer:
    """An answer as what a step expects, without what is empty."""
    return {key: value for key, value in answer.items() if value}
