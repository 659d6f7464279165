"""Answers to requests that one limit refuses: who hammers gets the same bytes until the second is over."""

from __future__ import annotations

from collections.abc import Sequence

from rls.api.encode import ResponseOptions, encode
from rls.core.decide import Decision, Modes
from rls.engine.prepared import PreparedRequest

_MOST_BYTES = 16 << 20


class RefusedAnswers:
    """Encodes lone refusals (see `Decision`), and remembers them for as long as they hold.

    Args:
        answers: What answers hold.
    """

    def __init__(self, answers: ResponseOptions) -> None:
        self._answers = answers
        self._encoded: dict[PreparedRequest, bytes] = {}
        self._since = self._until = 0.0
        self._room = _MOST_BYTES

    def __len__(self) -> int:
        return len(self._encoded)

    def answer(
        self, prepared: PreparedRequest, decision: Decision, prefixes: Sequence[bytes], modes: Modes, began: float
    ) -> bytes:
        """As `encode`, for the lone refusal *decision* on what was *prepared*, of a request at *began* (Unix seconds)."""
        if self._since <= began < self._until:
            encoded = self._encoded.get(prepared)
            if encoded is not None:
                return encoded
        else:
            self._since = float(int(began))
            self._until = self._since + 1.0
            self._encoded = {}
            self._room = _MOST_BYTES
        encoded = encode(decision, prefixes, self._answers, modes)
        size = _size(encoded)
        if size <= self._room:
            self._room -= size
            self._encoded[prepared] = encoded
        return encoded

    def clear(self) -> None:
        """Forget all: other rules are in force."""
        self._since = self._until = 0.0
        self._encoded = {}


def _size(encoded: bytes) -> int:
    """Bytes that are kept with an answer: what was prepared holds more than the answer says."""
    return 2_000 + 20 * len(encoded)
