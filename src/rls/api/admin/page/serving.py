"""Serves the page: files of this package, and nothing from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.responses import Response

from rls.api.compression import accepts_gzip
from rls.transport.http1.bounds import App, Receive, Scope, Send

INDEX = "/"
_FOLDER = "/page/"
_SCRIPTS = (
    "api.js",
    "dom.js",
    "main.js",
    "now.js",
    "rules.js",
    "tenant.js",
    "change.js",
    "explain.js",
    "changes.js",
    "backend.js",
)
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_NAMES = {INDEX: "index.html", **{f"{_FOLDER}{name}": name for name in ("icon.svg", "style.css", *_SCRIPTS)}}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
"""What the page may do: run its own scripts, and ask this server."""


class _File(NamedTuple):
    body: bytes
    compressed: bytes
    headers: Mapping[str, str]


class Page:
    """*app*, but for the paths of the page; `/` is the page for browsers only."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._files = {path: _read(name) for path, name in _NAMES.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._files.get(scope["path"])
        if found is None or not is_page(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if found.headers["ETag"] in headers.get("if-none-match", ""):
            response = Response(status_code=304, headers=found.headers)
        elif accepts_gzip(headers.get("accept-encoding", "")):
            response = Response(found.compressed, headers={**found.headers, "Content-Encoding": "gzip"})
        else:
            response = Response(found.body, headers=found.headers)
        await response(scope, receive, send)


def is_page(scope: Scope) -> bool:
    """Whether a request is for a file of the page: they are the same on all servers, and tell nothing of this one."""
    path = scope["path"]
    if scope["method"] not in ("GET", "HEAD") or path not in _NAMES:
        return False
    return path != INDEX or "text/html" in Headers(scope=scope).get("accept", "")


def _read(name: str) -> _File:
    body = files(__package__).joinpath(name).read_bytes()
    headers = {
        # A browser asks each time whether it has the newest: a page and a server of two versions need not fit.
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Content-Type": _TYPES[name.rpartition(".")[2]],
        # Weak: compressed or not, it is the same.
        "ETag": f'W/"{hashlib.sha256(body).hexdigest()[:16]}"',
        "Vary": "Accept, Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    return _File(body, gzip.compress(body, mtime=0), headers)
