"""Answers in JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rls.api.admin.query import WrongRequest
from rls.api.admin.route import Endpoint
from rls.api.admin.rows import Row
from rls.printable import json_line
from rls.slices import Slices

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_PIECE_BYTES = 16_384


def answer_json(value: object) -> Response:
    """*value*, which is small."""
    return Response(f"{json_line(value)}\n", media_type="application/json", headers=HEADERS)


def answer_error(status: int, text: str, expected: str, headers: Mapping[str, str] | None = None) -> Response:
    """What was wrong, and what was *expected*."""
    content = f"{json_line({'error': text, 'expected': expected})}\n"
    return Response(content, status, {**HEADERS, **(headers or {})}, "application/json")


def answer_rows(head: Row, name: str, found: Iterable[Row]) -> Response:
    """*head*, with the rows *found* as *name* at its end; a row at a time, between which checks are answered."""

    async def pieces() -> AsyncIterator[bytes]:
        slices = Slices()
        gathered = json_line(head).removesuffix("}") + (", " if head else "") + f'"{name}": ['
        separator = "\n"
        for row in found:
            gathered += separator + json_line(row)
            separator = ",\n"
            if len(gathered) >= _PIECE_BYTES:
                yield gathered.encode()
                gathered = ""
            await slices.next()
        yield f"{gathered}\n]}}\n".encode()

    return StreamingResponse(pieces(), media_type="application/json", headers=HEADERS)


def told(endpoint: Endpoint) -> Endpoint:
    """*endpoint*, whose errors are answered."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except WrongRequest as error:
            return answer_error(error.status, str(error), error.expected)

    return answer
