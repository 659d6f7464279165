"""One case given to both servers, and where their answers differ."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import grpc

from rls.backends.base import CounterBackend
from rls.backends.overlimit_cache import OverLimitCache
from rls.config import load
from rls.core.keys import KeyFormat
from rls.errors import RlsError
from tests.differential.cases import Case
from tests.differential.reference import Reference
from tests.scenario import (
    Recorded,
    Response,
    Scenario,
    message_of,
    service_of,
    show_headers,
    show_metadata,
    show_status,
)

T = TypeVar("T")
Answer = dict[str, Any]
OWN_METADATA = ("rule", "descriptor", "seconds_until_reset")

_domains = count(1)


@dataclass(frozen=True)
class Variant:
    """Settings that both servers have: *reference* in its words, *settings* in those of scenarios."""

    name: str
    reference: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    over_limit_cache: bool = False


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


class Ours:
    """`rls` from message to message, without a socket."""

    def __init__(self, variant: Variant, backend: CounterBackend, key_format: KeyFormat) -> None:
        self.name = f"{type(backend).__name__} {key_format}"
        self.exact_keys = key_format is KeyFormat.V1
        self.recorded = Recorded(OverLimitCache(backend) if variant.over_limit_cache else backend)
        settings = {**variant.settings, "key_format": key_format, "key_prefix": "ours:"}
        self.limiter, self._service = service_of(settings, self.recorded)

    def load(self, directory: Path) -> None:
        loaded = load([directory])
        assert not loaded.problems, f"the reference takes what rls refuses: {loaded.problems}"
        self.limiter.load(loaded.rules)

    async def ask(self, message: bytes) -> bytes:
        return await self._service.answer(message)


class Pair:
    """Both servers of a variant, and the loop that ours runs in."""

    def __init__(
        self, variant: Variant, reference: Reference, ours: Sequence[Ours], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.variant = variant
        self.reference = reference
        self.ours = ours
        self.redone = 0
        self._loop = loop
        self._theirs: list[Answer] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(coroutine)

    def differ(self, case: Case) -> str:
        """Where the answers to *case* differ first; "" where they do not."""
        for _ in range(20):
            difference = self._compared(case.in_domains(f"-{next(_domains)}"))
            if difference is not None:
                return difference
            self.redone += 1
        raise AssertionError("no case of twenty could be asked within a second")

    def scenario(self, case: Case, about: str) -> Scenario:
        """*case* with what the reference answered to it last."""
        files = case.files()
        rules = files["0.yaml"] if len(files) == 1 else files
        steps = [{**step, **expected(their)} for step, their in zip(case.steps, self._theirs, strict=True)]
        return Scenario(about, rules, steps, self.variant.settings)

    def _compared(self, case: Case) -> str | None:
        """None where a second went by meanwhile, so that windows may have: to be asked again."""
        self.reference.load(case.files())
        for ours in self.ours:
            ours.load(self.reference.directory)
            ours.recorded.hits.clear()
        messages = [message_of(step) for step in case.steps]
        second = int(time.time())
        theirs = self._theirs = [self._told(lambda: self._ask_reference(message, case)) for message in messages]  # noqa: B023 - called at once
        answers = [[self._told(lambda: self.run(ours.ask(message))) for message in messages] for ours in self.ours]  # noqa: B023
        if int(time.time()) != second:
            return None
        counters = [len({hit.key for hit in ours.recorded.hits}) for ours in self.ours]
        limits = len({(hit.key, hit.limit) for hit in self.ours[0].recorded.hits})
        if self.variant.over_limit_cache and limits > max(counters):
            return ""  # What the reference remembers is for any limit of a counter, larger ones too.
        for ours, answered in zip(self.ours, answers, strict=True):
            if ours.exact_keys and len(set(counters)) > 1:
                continue  # Two of these counters have one name in the reference.
            for number, (our, their) in enumerate(zip(answered, theirs, strict=True), 1):
                if difference := difference_between(our, their):
                    return f"step {number}, {ours.name}, {difference}"
        return ""

    def _ask_reference(self, message: bytes, case: Case) -> bytes:
        if "dynamic_metadata" in self.variant.settings:
            # It merges nested metadata into the rules themselves, so that an answer shows what others were given.
            self.reference.load(case.files())
        return self.reference.ask(message)

    @staticmethod
    def _told(ask: Callable[[], bytes]) -> Answer:
        try:
            response = Response.FromString(ask())
        except grpc.RpcError as error:
            return {"error": error.details()}
        except RlsError as error:
            return {"error": str(error)}
        metadata = {key: value for key, value in show_metadata(response).items() if key not in OWN_METADATA}
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
