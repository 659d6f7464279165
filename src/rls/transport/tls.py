"""TLS of the native transport: a fresh context whenever a file changes, and the names in a client's certificate."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import cast

from rls.errors import SettingsError
from rls.transport.base import Tls
from rls.transport.certificates import fingerprint

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0

# RFC 9113, section 9.2.2, for TLS 1.2: forward secrecy and AEAD. All of TLS 1.3's are like that.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ALPN = "h2"


def make_context(tls: Tls) -> ssl.SSLContext:
    """A context of the files as they are now. It reads files and may take milliseconds: call it in a thread.

    Raises:
        SettingsError: They cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # RFC 9113, sections 9.2.1 and 9.2.2.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols([_ALPN])
    try:
        for path in (tls.cert, tls.key):
            path.read_bytes()  # OpenSSL does not say which file is missing
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
        if tls.client_ca is not None:
            context.load_verify_locations(cadata=tls.client_ca.read_text("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
            # Each certificate of the file is trusted, an intermediate one as well.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot serve TLS: {error}") from error
    return context


def _no_password() -> str:
    raise ValueError("the private key is encrypted: expected one without a password")


def speaks_http2(connection: ssl.SSLObject) -> bool:
    """Whether the client has agreed to HTTP/2 (RFC 9113, section 3.2)."""
    return connection.selected_alpn_protocol() == _ALPN


def names_of(connection: ssl.SSLObject) -> frozenset[str]:
    """DNS names and URIs of the client's certificate, which the handshake has verified."""
    try:
        certificate = connection.getpeercert() or {}
    except ValueError:  # it cannot be read: it names nobody
        return frozenset()
    names = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    return frozenset(value for kind, value in names if kind in ("DNS", "URI"))


class Certificates:
    """The context of new connections: the newest that could be made.

    Args:
        on_change: Called when a new one is in force.
        on_failure: Given the reason why changed files are not in force, "" once they are.
    """

    def __init__(
        self, tls: Tls, on_change: Callable[[], None], on_failure: Callable[[str], None] = lambda _: None
    ) -> None:
        self._tls = tls
        self._seen = fingerprint(tls)
        self._on_change = on_change
        self._on_failure = on_failure
        self.context = make_context(tls)

    async def run(self) -> None:
        """Look at the files every second, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Put changed files in force."""
        found = await asyncio.to_thread(fingerprint, self._tls)
        if found == self._seen:
            return
        self._seen = found
        try:
            self.context = await asyncio.to_thread(make_context, self._tls)
        except SettingsError as error:
            _LOG.error("the changed certificates are not in force: %s", error)
            self._on_failure(str(error))
            return
        _LOG.info("changed certificates are in force")
        self._on_failure("")
        self._on_change()
