"""HTTP beside gRPC: what probes, Prometheus and people ask for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from rls.api.admin.hosts import KnownHosts
from rls.api.admin.page.serving import Page
from rls.api.compression import accepts_gzip, gzipped
from rls.api.json_token import JsonToken
from rls.api.readiness import Readiness
from rls.api.service import Service
from rls.core.rules import Rule, RuleSet
from rls.errors import Diagnostic
from rls.printable import json_line, printable
from rls.slices import Slices, run, sort
from rls.transport.http1.bounds import App, Bounded, Receive, Scope, Send
from rls.utc import utc

Endpoint = Callable[[Request], Awaitable[Response]]
Paths = Mapping[str, tuple[str, str, Endpoint]]
"""By path: its method, what it is for, and what answers it."""

API = "/api/v1"
JSON_BYTES = 16_384
"""Largest body of `/json`."""
_JSON_AT_ONCE, _METRICS_AT_ONCE, _RULES_AT_ONCE = 4, 4, 2
_PROBLEMS_SHOWN = 100
_PATH_SHOWN = 200


def public_app(
    service: Service,
    readiness: Readiness,
    problems: Callable[[], Sequence[Diagnostic]],
    metrics: Callable[[str], tuple[str, Iterable[bytes]]],
    *,
    json_checks: bool = True,
    json_token: JsonToken | None = None,
) -> App:
    """Health, readiness, metrics and checks in JSON.

    Args:
        service: Answers `/json`.
        readiness: Answers `/readyz`.
        problems: Mistakes in the rules, for which parts of them are not in force.
        metrics: Returns, for an `Accept` header, the content type of the page of all metrics, and the page in pieces
            between which checks are answered.
        json_checks: Whether there is `/json`.
        json_token: Who may give hits back there; nobody where None.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        return JSONResponse(_readiness(readiness, problems()), 200 if readiness.ready else 503)

    async def healthcheck(_: Request) -> Response:
        return PlainTextResponse("OK") if readiness.ready else Response(status_code=500)

    async def show_metrics(request: Request) -> Response:
        return _metrics_page(request, *metrics(request.headers.get("accept", "")))

    async def check(request: Request) -> Response:
        shown = request.headers.get("authorization")
        refunds = shown is not None and json_token is not None and await json_token.allows(shown)
        status, body = await service.answer_json(await request.body(), refunds=refunds)
        return Response(body, status, media_type="application/json")

    paths: dict[str, tuple[str, str, Endpoint]] = {
        "/healthcheck": ("GET", "OK if ready, else 500", healthcheck),
        "/healthz": ("GET", "liveness: OK while the process runs", healthz),
        "/metrics": ("GET", "Prometheus metrics", show_metrics),
        "/readyz": ("GET", "readiness, enforcement state and its reasons", readyz),
    }
    if json_checks:
        paths["/json"] = ("POST", "a check in JSON: 200 for OK, 429 for OVER_LIMIT", check)
    shares = {"/json": _JSON_AT_ONCE, "/metrics": _METRICS_AT_ONCE}
    return Bounded(_app(paths), max_body_bytes=JSON_BYTES, shares=shares)


def _metrics_page(request: Request, content_type: str, pieces: Iterable[bytes]) -> Response:
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    page = _cooperatively(pieces)
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        page = gzipped(page)
    return StreamingResponse(page, headers=headers)


def _readiness(readiness: Readiness, problems: Sequence[Diagnostic]) -> dict[str, object]:
    """What `/readyz` says; of *problems* the first ones."""
    enforcement = readiness.enforcement
    return {
        "ready": readiness.ready,
        "draining": readiness.draining,
        "state": enforcement.state,
        "since": utc(enforcement.since, "milliseconds"),
        "reasons": [
            {
                "reason": found.reason,
                "state": found.state,
                "since": utc(found.since, "milliseconds"),
                "text": printable(found.text),
            }
            for found in enforcement.weaknesses
        ],
        "problems": [printable(str(problem)) for problem in problems[:_PROBLEMS_SHOWN]],
        "problems_total": len(problems),
    }


def admin_app(
    rules: Callable[[], RuleSet],
    api: App | None = None,
    host: str = "",
    *,
    guard: Callable[[App], App] = lambda app: app,
) -> App:
    """What shows state; only what is below `API` may change some.

    Args:
        rules: Returns those in force.
        api: Answers what is below `API`.
        host: That of the admin address.
        guard: Puts a guard before all of it.
    """

    async def rlconfig(request: Request) -> Response:
        found = await run(sort(rules().rules(), key=lambda rule: (rule.domain, rule.path)))
        if request.query_params.get("format") == "json":
            return StreamingResponse(_cooperatively(_as_json(found)), media_type="application/json")
        return StreamingResponse(
            _cooperatively(f"{_as_text(rule)}\n".encode() for rule in found), media_type="text/plain"
        )

    paths: Paths = {"/rlconfig": ("GET", "the rules in force; ?format=json for all their fields", rlconfig)}

    async def index(_: Request) -> Response:
        listed = {"/": ("GET", "this list", index), **paths}
        if api is not None:
            listed["/"] = ("GET", "this list; in a browser, a page", index)
            listed[API] = ("GET", "a list of what is shown as JSON", index)
        return PlainTextResponse("".join(f"{path}: {purpose}\n" for path, (_, purpose, _) in sorted(listed.items())))

    app = _app({"/": ("GET", "this list", index), **paths})
    pages = Bounded(app, max_body_bytes=JSON_BYTES, shares={"/rlconfig": _RULES_AT_ONCE})
    return guard(KnownHosts(pages if api is None else _ByPath(api, Page(pages)), host))


class _ByPath:
    """*api* for what is below `API`, *pages* for the rest."""

    def __init__(self, api: App, pages: App) -> None:
        self._api = api
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_api = scope["path"] == API or scope["path"].startswith(f"{API}/")
        await (self._api if is_api else self._pages)(scope, receive, send)


def _app(paths: Paths) -> Starlette:
    async def not_found(request: Request, _: Exception) -> Response:
        known = ", ".join(sorted(paths))
        return PlainTextResponse(f"not found: {_shown(request)} (available: {known})\n", 404)

    async def wrong_method(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        text = f"{_shown(request)} does not take {printable(request.method)}: use {allowed}\n"
        return PlainTextResponse(text, 405, headers={"Allow": allowed})

    routes = [Route(path, endpoint, methods=[method]) for path, (method, _, endpoint) in paths.items()]
    return Starlette(routes=routes, exception_handlers={404: not_found, 405: wrong_method})


def _shown(request: Request) -> str:
    """The path as it was sent, in printable ASCII: it goes to a terminal."""
    path: str = request.scope["raw_path"].decode("ascii")
    return path if len(path) <= _PATH_SHOWN else f"{path[:_PATH_SHOWN]}…"


async def _cooperatively(pieces: Iterable[bytes], at_least: int = 16_384) -> AsyncIterator[bytes]:
    """*pieces*, joined into chunks of *at_least* bytes; other tasks run between pieces."""
    gathered: list[bytes] = []
    size = 0
    slices = Slices()
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= at_least:
            yield b"".join(gathered)
            gathered, size = [], 0
        await slices.next()
    yield b"".join(gathered)


def _as_text(rule: Rule) -> str:
    """A line as the reference writes it, which has no word for a window of several units."""
    limit = rule.limit
    unit, requests = ("UNKNOWN", 0) if limit is None else (limit.unit.name, limit.requests_per_unit)
    several = f", unit_multiplier: {limit.unit_multiplier}" if limit and limit.unit_multiplier > 1 else ""
    flags = f"shadow_mode: {json.dumps(rule.shadow_mode)}, quota_mode: {json.dumps(rule.quota_mode)}"
    return f"{printable(f'{rule.domain}.{rule.path}')}: unit={unit} requests_per_unit={requests}, {flags}{several}"


def _as_json(rules: Iterable[Rule]) -> Iterator[bytes]:
    before = "["
    for rule in rules:
        yield f"{before}\n{json_line(_described(rule))}".encode()
        before = ","
    yield b"[]\n" if before == "[" else b"\n]\n"


def _described(rule: Rule) -> dict[str, object]:
    limit = rule.limit
    known = rule.id
    described: dict[str, object] = {"domain": known.domain, "rule": known.path, "name": known.name}
    if limit is None:
        described["unlimited"] = True
    else:
        described |= {
            "requests_per_unit": limit.requests_per_unit,
            "unit": limit.unit.name,
            "unit_multiplier": limit.unit_multiplier,
        }
    return described | {
        "shadow_mode": rule.shadow_mode,
        "quota_mode": rule.quota_mode,
        "detailed_metric": rule.detailed_metric,
        "on_backend_error": rule.on_backend_error,
        "replaces": sorted(rule.replaces),
        "metadata": rule.metadata,
        "place": known.where,
    }
