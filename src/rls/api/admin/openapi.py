"""The OpenAPI document of the admin API. A test holds it to the routes, their parameters and what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from rls import __version__
from rls.api.admin.answer import answer_json
from rls.api.admin.query import Query
from rls.api.admin.route import AdminRoute
from rls.api.admin.schemas import SCHEMAS, TEXT, WHOLE, Schema, array, of

_CHOICES: Mapping[str, Sequence[str]] = {
    "by": ("refused", "hits", "shadow", "near"),
    "window": ("5m", "start"),
    "pods": ("all",),
}
_WHOLE = frozenset({"limit", "offset", "from", "to"})
_ERRORS = {
    "400": "The request is not understood.",
    "401": "A token is needed, or it is not valid.",
    "403": "A page of another site asks, or the server has no --admin-token-file.",
    "421": "The Host header names another server.",
    "503": "The backend does not answer, or too many requests are being answered.",
}


class _Operation(NamedTuple):
    """What a route takes and answers: names of parameters of the query, of the schemas of the answer and of the body."""

    parameters: tuple[str, ...]
    answers: str
    body: str = ""
    errors: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()


_PAGE = ("domain", "limit", "offset")
_OPERATIONS: Mapping[tuple[str, str], _Operation] = {
    ("GET", ""): _Operation((), "Index"),
    ("GET", "/annotations"): _Operation(("from", "to"), "Annotations"),
    ("GET", "/counters"): _Operation(("domain", "entry", "limit"), "Counters|CounterList", "", ("501",), ("domain",)),
    ("GET", "/backend"): _Operation((), "Backend"),
    ("POST", "/counters/give"): _Operation((), "ChangedCounters", "Give", ("404", "413", "415")),
    ("POST", "/counters/reset"): _Operation((), "ChangedCounters", "Reset", ("404", "413", "415")),
    ("GET", "/events"): _Operation(("limit", "since"), "Events"),
    ("POST", "/explain"): _Operation((), "Explanation", "Check", ("413", "415")),
    ("GET", "/openapi.json"): _Operation((), "Document"),
    ("GET", "/overrides"): _Operation(("domain",), "Overrides"),
    ("POST", "/overrides"): _Operation((), "SetOverride", "NewOverride", ("404", "409", "413", "415")),
    ("DELETE", "/overrides/{id}"): _Operation(("reason",), "EndedOverride", "", ("404",)),
    ("GET", "/refusals"): _Operation(("domain", "entry", "limit", "rule", "since"), "Refusals"),
    ("GET", "/revisions"): _Operation(("limit",), "Revisions"),
    ("GET", "/rules"): _Operation((*_PAGE, "contains", "name"), "Rules"),
    ("GET", "/rules/{domain}/{rule}/top"): _Operation(("by", "entry", "limit", "window"), "Top", "", ("404",)),
    ("GET", "/shadow"): _Operation(_PAGE, "Shadow"),
    ("GET", "/status"): _Operation((), "Status"),
    ("GET", "/top"): _Operation(("by", "domain", "entry", "limit", "pods", "rule", "window"), "Top"),
    ("GET", "/traffic"): _Operation((), "Traffic"),
    ("GET", "/unknown"): _Operation((), "Unknown"),
}
_MORE_ERRORS = {
    "404": "No rule, or no override, is as asked.",
    "409": "There are as many overrides as may be.",
    "413": "The body is too large.",
    "415": "The body is no JSON.",
    "501": "The store does not do this.",
}


def document(prefix: str, routes: Sequence[AdminRoute]) -> dict[str, Any]:
    """The document of *routes* below *prefix*; one that is not described here is left out, and a test says so."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path.replace(":path}", "}")
        known = _OPERATIONS.get((route.method, path))
        if known is not None:
            paths.setdefault(prefix + path, {})[route.method.lower()] = _described(route, path, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Admin API of the Istio Rate Limiter",
            "version": __version__,
            "description": "Members that are not described may be there: ignore them.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def openapi_route(prefix: str, routes: Sequence[AdminRoute]) -> AdminRoute:
    """The route that answers the document of *routes* below *prefix*, and of itself."""

    async def show(request: Request) -> Response:
        Query(request, ())
        return answer_json(document(prefix, [*routes, route]))

    route = AdminRoute("/openapi.json", "this API as an OpenAPI document", show)
    return route


def _described(route: AdminRoute, path: str, known: _Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _either(known.answers)}}
    if path == "/events":
        content["text/event-stream"] = {"schema": TEXT}
    errors = {status: _MORE_ERRORS[status] for status in known.errors}
    found: dict[str, Any] = {
        "summary": route.purpose,
        "operationId": f"{route.method.lower()}{path.replace('/', '_').translate(str.maketrans('', '', '{}.'))}",
        "parameters": [*map(_in_path, _names(path)), *(_in_query(name, known) for name in sorted(known.parameters))],
        "responses": {
            "200": {"description": route.purpose, "content": content},
            **{status: _error(text) for status, text in sorted({**_ERRORS, **errors}.items())},
        },
    }
    if known.body:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": of(known.body)}}}
    # An empty requirement: on loopback, reading needs none.
    found["security"] = [{"token": []}] if route.changes else [{}, {"token": []}]
    return found


def _either(names: str) -> Schema:
    found = [of(name) for name in names.split("|")]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def _in_query(name: str, known: _Operation) -> dict[str, Any]:
    schema: Schema = WHOLE if name in _WHOLE else TEXT
    if name in _CHOICES:
        schema = {"type": "string", "enum": list(_CHOICES[name])}
    if name == "entry":
        schema = array(TEXT)
    return {"name": name, "in": "query", "required": name in known.needed, "schema": schema}


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": of("Error")}}}
