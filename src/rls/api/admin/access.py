"""Who may ask the admin address for what.

- A web page of another site may do nothing (CSRF): browsers say where a request comes from, in `Origin` and `Sec-Fetch-Site`.
- A change needs a token. So does everything on an address that other machines reach.
- No page may show ours in a frame (clickjacking), and no browser may take our JSON for anything else.

Whatever route is forgotten here counts as one that changes something, unless its method is GET or HEAD.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import ip_address
from typing import NamedTuple

from starlette.datastructures import Headers, MutableHeaders

from rls.addresses import split_address, unix_path
from rls.api.admin.answer import answer_error
from rls.api.admin.tokens import AdminTokens
from rls.printable import printable
from rls.transport.http1.bounds import App, Message, Receive, Scope, Send

AUTHOR = "author"
"""Name in a scope's state: of the token that was shown."""
_READS = frozenset({"GET", "HEAD"})
_OWN_SITE = frozenset({"same-origin", "none"})
_JSON = "application/json"
_SHOWN = 100
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer that does not have its own."""


class Refused(NamedTuple):
    """Why a request is not answered: the *status* of HTTP, what was wrong, what was *expected*, and a word for the log."""

    status: int
    text: str
    expected: str
    reason: str


class Access:
    """*app*, for those who may ask it.

    Args:
        app: Answers. In its scope's state it finds the `AUTHOR` of a change.
        address: Where the server listens.
        tokens: Who has them may change something.
        reading: Paths whose POST changes nothing.
        public: Whether a request is for a file that is the same on all servers, such as the page. On a server with tokens,
            it is read without one.
        on_refused: Called with what was refused, the method, the path and the client's address.
    """

    def __init__(
        self,
        app: App,
        address: str,
        tokens: AdminTokens,
        *,
        reading: Collection[str] = (),
        public: Callable[[Scope], bool] = lambda _: False,
        on_refused: Callable[[Refused, str, str, str], None] = lambda _, __, ___, ____: None,
    ) -> None:
        self._app = app
        self._is_own = is_own(address)
        self._tokens = tokens
        self._reading = frozenset(reading)
        self._public = public
        self._on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = await self._judge(scope)
        if refused is None:
            await self._app(scope, receive, send_safely)
            return
        self._on_refused(refused, scope["method"], scope["path"][:_SHOWN], peer_of(scope))
        headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
        await answer_error(refused.status, refused.text, refused.expected, headers)(scope, receive, send_safely)

    async def _judge(self, scope: Scope) -> Refused | None:
        """Why the request of *scope* is refused; None where it is not. Gives the scope its `AUTHOR`."""
        headers = Headers(scope=scope)
        reads = scope["method"] in _READS or (scope["method"] == "POST" and scope["path"] in self._reading)
        foreign = _foreign(headers, navigates=scope["method"] in _READS)
        if foreign:
            return Refused(403, foreign, "a request that no page of another site makes", "foreign_origin")
        if reads and self._is_own:
            return None
        if reads and self._tokens.exist and self._public(scope):
            return None
        if not self._tokens.exist:
            what = "this server accepts no changes" if self._is_own else "this server answers nobody at this address"
            return Refused(403, what, "a server with --admin-token-file", "no_token_file")
        shown = headers.get("authorization")
        author = None if shown is None else await self._tokens.name_of(shown)
        if author is None:
            text = "a token is needed" if shown is None else "the token is not a valid one"
            expected = "Authorization: Bearer, and a token of --admin-token-file"
            return Refused(401, text, expected, "no_token" if shown is None else "wrong_token")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        # What a form can send is no JSON. Other methods need what no page of another site gets: a preflight's consent.
        if scope["method"] == "POST" and kind != _JSON:
            return Refused(415, f"a body of the type {printable(kind[:_SHOWN]) or 'unknown'}", _JSON, "no_json")
        scope["state"][AUTHOR] = author
        return None


def _foreign(headers: Headers, *, navigates: bool) -> str:
    """What says that another site makes the request; "" where nothing does.

    Args:
        headers: Of the request.
        navigates: Whether a link of another site may lead here.
    """
    host = headers.get("host", "").lower()
    for origin in headers.getlist("origin"):
        if origin.lower() not in (f"http://{host}", f"https://{host}"):
            return f"the request comes from a page of {printable(origin[:_SHOWN]) or 'nowhere'}"
    site = headers.get("sec-fetch-site", "none").lower()
    if site in _OWN_SITE or (navigates and headers.get("sec-fetch-mode", "").lower() == "navigate"):
        return ""
    return f"the request comes from a page of another site (Sec-Fetch-Site: {printable(site[:_SHOWN])})"


def is_own(address: str) -> bool:
    """Whether only this machine reaches *address*."""
    if unix_path(address) is not None:
        return True
    host, _ = split_address(address)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def peer_of(scope: Scope) -> str:
    """The address of the client of *scope*; "unix" where it has none."""
    client = scope.get("client")
    return "unix" if not client or not client[0] else printable(str(client[0]))
