"""The rate-limit service: a message in, a message out, whatever carries them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import TypeAlias

from rls.api.clock_cache import ClockCache
from rls.api.decode import SLICE, Message, parse, read, slices
from rls.api.encode import ResponseOptions, encode, encode_slices, encode_statuses, status_prefix, status_prefixes
from rls.api.json_checks import read_request, write_response
from rls.api.plain import last_value, read_descriptor, split
from rls.api.refused_answers import RefusedAnswers
from rls.core.check import Check
from rls.core.plan import DomainPlanner, Plan, Planner
from rls.core.siblings import Siblings
from rls.engine.events import RequestContext
from rls.engine.limiter import Limiter
from rls.engine.prepared import PreparedCheck, PreparedRequest
from rls.errors import BackendError, NotLoaded, RequestError
from rls.proto import rls_pb2
from rls.transport.base import Dropped, Shed
from rls.transport.status import StatusCode, status_of

SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

_REASONS = {RequestError: "invalid", BackendError: "backend", NotLoaded: "not_loaded"}
"""By which requests that got an error for an answer are counted."""
_BUG = "internal"
_HTTP_STATUS = {StatusCode.INVALID_ARGUMENT: 400, StatusCode.UNAVAILABLE: 503}
MOST_SIBLINGS = 512
_LONGEST_SIBLING = 640
"""Bytes of a descriptor: to look for the last value takes a step for each entry."""
_MOST_LARGE = 128
"""Requests of more than `SLICE` descriptors that may wait for their turn: each holds up to a message of the largest size."""
_NO_REFUNDS = "is_negative_hits needs the token of --json-token-file: Authorization: Bearer TOKEN"


Remembered: TypeAlias = tuple[PreparedRequest, Sequence[bytes]]
"""What a message comes to, and how each status of its answer begins."""
_KnownCheck: TypeAlias = tuple[Check, PreparedCheck | None, bytes]
"""What a descriptor comes to, its hit where it counts, and how its status begins."""
_Beside: TypeAlias = tuple[str, int, bytes]
"""The domain of a descriptor, its length, and what stands before its last value."""


class Service:
    """Answers RateLimitService messages with a limiter.

    Envoy sends the same bytes for the same company again and again, so what a message comes to is kept: parsed, matched
    and planned once, as long as the rules stay the same. A request of more than `SLICE` descriptors is judged in slices,
    between which other calls have their turn.

    Args:
        limiter: Decides.
        answers: What answers hold.
        remembered_bytes: Bound on what is kept.
        on_ignored: Called with a domain, and a sentence on a part of a request for it that was passed over. It is not
            called for each such request: what is remembered was told before.
        on_bug: Called with an error that ended a request and that nobody expects.

    Attributes:
        unanswered: Requests so far that got an error for an answer, by reason; calls that were dropped are not in it.
        refused_answers: Answers to those that one limit refuses.
        siblings: Of descriptors that were not remembered, by what they have in common. None where only one was seen.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        answers: ResponseOptions | None = None,
        remembered_bytes: int = 160 << 20,
        on_ignored: Callable[[str, str], None] = lambda _, __: None,
        on_bug: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self.unanswered = dict.fromkeys((*_REASONS.values(), _BUG), 0)
        self.limiter = limiter
        self.answers = answers or ResponseOptions()
        self.refused_answers = RefusedAnswers(self.answers)
        self._on_ignored = on_ignored
        self._on_bug = on_bug
        self._one_at_a_time = asyncio.Lock()
        self._large = 0
        self._remembered = ClockCache[bytes, Remembered](remembered_bytes * 5 // 8)
        self._checks = ClockCache[bytes, _KnownCheck](remembered_bytes * 3 // 8)
        self.siblings = ClockCache[_Beside, Siblings | None](MOST_SIBLINGS)
        self._rules = limiter.rules

    async def answer(self, message: bytes, request: RequestContext | None = None) -> bytes:
        """RateLimitResponse for the RateLimitRequest *message*; observers know it by *request*.

        Raises:
            RequestError: The message is not one that can be answered.
            NotLoaded: No rules have been loaded yet.
            BackendError: The counters could not be had.
            Shed: It is large, and too many such requests wait.
        """
        try:
            found = self.look_up(message)
            if isinstance(found, tuple):
                prepared, prefixes = found
                limiter = self.limiter
                return encode(await limiter.run(prepared, request), prefixes, self.answers, limiter.modes)
        except Exception as error:
            self.count_unanswered(error)
            raise
        return await self.answer_many(found, request)

    def look_up(self, message: bytes) -> Remembered | Message:
        """What *message* comes to, remembered or found out; or the parsed message, where it has many descriptors.

        Raises:
            RequestError: The message is not one that can be answered.
            NotLoaded: No rules have been loaded yet.
        """
        if self.limiter.rules is not self._rules:
            self._remembered.clear()
            self._checks.clear()
            self.siblings.clear()
            self.refused_answers.clear()
            self._rules = self.limiter.rules
        kept = self._remembered.kept.get(message)  # as `get`, without a call
        if kept is not None:
            kept.used = True
            return kept.value
        remembered = self._prepare_plain(message)
        if remembered is None:
            parsed = parse(message)
            if len(parsed.descriptors) > SLICE:
                return parsed
            planned = self.limiter.ready_planner().plan(read(parsed, self._ignored(parsed)))
            remembered = (PreparedRequest(planned), status_prefixes(planned))
        # What it weighs in memory, measured: the message, its texts once more in entries and keys, and the objects.
        self._remembered.put(message, remembered, 850 + 3 * len(message) + 800 * len(remembered[1]))
        return remembered

    def _prepare_plain(self, message: bytes) -> Remembered | None:
        """What a plain message comes to; None where protobuf has to read it.

        What its descriptors come to is remembered, for other messages that have the same.
        """
        plain = split(message)
        if plain is None or len(plain.descriptors) > SLICE:
            return None
        name, head, sent, addend = plain
        planner = self.limiter.ready_planner()
        domain = planner.domain(name)
        if len(sent) == 1:  # the message is remembered whole
            known = self._known_check(sent[0], planner, domain, addend, 0)
            return None if known is None else _prepare_alone(planner.alone(name, known[0], addend), known)
        shared = not addend  # an addend of the request makes other checks
        checks, counted, prefixes = [], [], []
        for index, one in enumerate(sent):
            key = head + one
            known = self._checks.get(key) if shared else None
            if known is None:
                known = self._known_check(one, planner, domain, addend, index)
                if known is None:
                    return None
                if shared:
                    self._checks.put(key, known, 1_100 + 4 * len(one))
            check, prepared, prefix = known
            checks.append(check if check.index == index else check.at(index))
            prefixes.append(prefix)
            if prepared is not None:
                counted.append(prepared)
        plan = planner.join(name, checks, addend)
        if len(plan.counted) == len(counted):
            return PreparedRequest(plan, counted), prefixes
        return PreparedRequest(plan), status_prefixes(plan)  # a rule of the request replaces another

    def _known_check(
        self, sent: bytes, planner: Planner, domain: DomainPlanner | None, addend: int, index: int
    ) -> _KnownCheck | None:
        """What the descriptor that was *sent* comes to; None where protobuf has to read it."""
        if domain is None:
            descriptor = read_descriptor(sent)
            return None if descriptor is None else (planner.unknown(descriptor, index), None, b"")
        begins = last_value(sent) if len(sent) <= _LONGEST_SIBLING else 0
        beside = domain.name, len(sent), sent[:begins]
        siblings = self.siblings.get(beside)
        check = None if siblings is None else siblings.check(sent[begins:], addend or 1, index)
        if check is None:
            descriptor = read_descriptor(sent)
            if descriptor is None:
                return None
            check = domain.check(descriptor, addend, index)
            if check.limit is None:
                return check, None, b""
            if siblings is None and begins:
                # From the second one on: where leading values differ each time, none comes.
                self.siblings.put(beside, domain.siblings(check) if beside in self.siblings.kept else None, 1)
        return check, PreparedCheck(check), status_prefix(check)

    def _ignored(self, parsed: Message) -> Callable[[str], None]:
        """Tells what is ignored in the request that was *parsed*."""

        def ignored(why: str) -> None:
            domain = parsed.domain if isinstance(parsed.domain, str) else parsed.domain.decode(errors="surrogateescape")
            self._on_ignored(domain, why)

        return ignored

    def count_unanswered(self, error: BaseException) -> None:
        """A request got *error* for an answer."""
        reason = next((_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS), _BUG)
        self.unanswered[reason] += 1
        if reason is _BUG:
            self._on_bug(error)

    async def answer_many(self, parsed: Message, request: RequestContext | None = None) -> bytes:
        """Answer a request of many descriptors, which `look_up` parsed. One is judged at a time: they are large.

        Raises:
            RequestError: As `answer`; NotLoaded and BackendError as well.
            Shed: Too many wait.
        """
        if self._large >= _MOST_LARGE:
            raise Shed("too many large requests are waiting", Dropped.LARGE)
        self._large += 1
        encoded: list[bytes] = []
        limiter, ignored = self.limiter, self._ignored(parsed)
        try:
            async with self._one_at_a_time:
                decision = await limiter.run_slices(
                    lambda: slices(parsed, ignored),
                    lambda judged: encoded.append(encode_statuses(judged.plan, judged.statuses)),
                    request,
                )
        except Exception as error:
            self.count_unanswered(error)
            raise
        finally:
            self._large -= 1
        return encode_slices(decision, encoded, self.answers, limiter.modes)

    async def answer_json(self, body: bytes, *, refunds: bool = True) -> tuple[int, bytes]:
        """HTTP status and JSON body for a RateLimitRequest in JSON, as the reference's `/json` answers it.

        200 for OK, 429 for OVER_LIMIT; 400 where the request is wrong, 403 where it gives hits back and *refunds* are not
        allowed, and 503 where it could not be answered, with `{"error": …}`.
        """
        try:
            request = await read_request(body)
        except RequestError as error:
            self.unanswered["invalid"] += 1
            return 400, _json_error(str(error))
        if not refunds and any(descriptor.is_negative_hits for descriptor in request.descriptors):
            self.unanswered["invalid"] += 1
            return 403, _json_error(_NO_REFUNDS)
        try:
            answer = await self.answer(request.SerializeToString())
        except (RequestError, NotLoaded, BackendError) as error:
            code, text = status_of(error)
            return _HTTP_STATUS[code], _json_error(text)
        except Shed as error:
            return 503, _json_error(error.text)
        response = rls_pb2.RateLimitResponse.FromString(answer)
        over = response.overall_code == rls_pb2.RateLimitResponse.OVER_LIMIT
        return 429 if over else 200, await write_response(response)


def _prepare_alone(plan: Plan, known: _KnownCheck) -> Remembered:
    """*plan*, whose one check is *known*, unless its rule replaces itself."""
    _, prepared, prefix = known
    if prepared is not None and plan.counted:
        return PreparedRequest(plan, (prepared,)), (prefix,)
    return PreparedRequest(plan), status_prefixes(plan)


def _json_error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()
