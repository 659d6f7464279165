"""Which hosts a request may be for: a web page must not read this server by a name of its own (DNS rebinding).

A browser sends the name in the page's address. A page can make a name of its own lead to 127.0.0.1, but not an address, nor a
name without a dot, nor one below a domain that nobody can register.
"""

from __future__ import annotations

from ipaddress import ip_address

from rls.addresses import split_host
from rls.api.admin.answer import answer_error
from rls.printable import printable
from rls.transport.http1.bounds import App, Receive, Scope, Send

_OURS = (".localhost", ".svc.cluster.local", ".internal", ".svc")
_SHOWN = 100
MISDIRECTED = 421
"""RFC 9110, 15.5.20."""


class KnownHosts:
    """*app*, for requests whose Host (RFC 9110, 7.2) no web page can choose; others are answered with 421.

    Args:
        app: Answers.
        own: The address that the server listens on.
    """

    def __init__(self, app: App, own: str = "") -> None:
        self._app = app
        self._own = own.rpartition(":")[0].lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = [value for name, value in scope["headers"] if name == b"host"]
        # HTTP/1.0 needs none, and no browser speaks it.
        host = found[0].decode("latin-1") if found else ""
        if host and not self._is_known(host):
            text = f"requests for the host {printable(host[:_SHOWN])} are not answered"
            expected = "an IP address, localhost, or a name without a dot in the Host header"
            await answer_error(MISDIRECTED, text, expected)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_known(self, text: str) -> bool:
        try:
            host, _ = split_host(text)
        except ValueError:
            return False
        host = host.lower().removesuffix(".")
        try:
            ip_address(host)
        except ValueError:
            return "." not in host or host == self._own or host.endswith(_OURS)
        return True
