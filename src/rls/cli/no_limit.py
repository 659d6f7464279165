"""Why answers do not show that a limit applied to every descriptor of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING

from rls.api.no_limit import UNLIMITED, no_domain, no_match
from rls.core.model import UINT32_MAX, Request

if TYPE_CHECKING:
    from rls.api.messages import Answer


def unlimited(request: Request, answers: Sequence[Answer], knows_domain: Callable[[], bool | None]) -> Sequence[str]:
    """The reasons, each once; none if a limit applied to every descriptor.

    Args:
        request: What was asked.
        answers: Its answers.
        knows_domain: Whether the server has rules for the domain of *request*; None if that is not known. Called once at
            most.
    """
    known = cache(knows_domain)
    return list(dict.fromkeys(reason for answer in answers for reason in _reasons(request, answer, known)))


def _reasons(request: Request, answer: Answer, knows_domain: Callable[[], bool | None]) -> Iterator[str]:
    if policies := answer.metadata.get("on_backend_error"):
        yield f"the backend is unavailable: on_backend_error decided instead of the counters: {policies}"
    if not answer.statuses:
        yield "the server sent no statuses, so it is not known whether a limit applied"
        return
    for descriptor, status in zip_longest(request.descriptors, answer.statuses[: len(request.descriptors)]):
        if status is not None and status.limit is not None:
            continue
        if status is not None and status.limit_remaining == UINT32_MAX:
            yield f"no limit for {descriptor.text}: {UNLIMITED}"
        else:
            yield f"no limit for {descriptor.text}: {_why(request.domain, known=knows_domain())}"


def _why(domain: str, *, known: bool | None) -> str:
    if known is None:
        return f"no rule matches, or there are no rules for the domain {domain}"
    if not known:
        return ": expected ".join(no_domain(domain))
    return f"{no_match(domain)}, or another rule of the request replaces the one that does"
