"""TLS: a fresh context whenever a file changes, when its certificate expires, and the names in a client's certificate."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar, cast

from rls.errors import SettingsError
from rls.transport.base import CertificateStatus, Tls
from rls.transport.client_names import Fingerprint, fingerprint
from rls.utc import utc

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
_CANNOT_SERVE = "cannot serve TLS: "
_ROUNDS = 4
"""TLS 1.2 needs three, TLS 1.3 two, and one more where the server asks for another key share."""

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
    path = tls.cert
    try:
        for path in (tls.cert, tls.key):
            path.read_bytes()  # OpenSSL does not say which file is missing
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
        if tls.client_ca is not None:
            path = tls.client_ca
            context.load_verify_locations(cadata=path.read_text("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
            # Each certificate of the file is trusted, an intermediate one as well.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    except (OSError, ValueError) as error:
        raise SettingsError(f"{_CANNOT_SERVE}{_unusable(tls, path, error)}") from error
    return context


def _unusable(tls: Tls, path: Path, error: Exception) -> str:
    """What *error*, at the file *path* or at one before, says in words."""
    if isinstance(error, _EncryptedKeyError):
        return f"{tls.key}: the private key is encrypted, expected one without a password"
    if not isinstance(error, ssl.SSLError | ValueError):
        return f"{path} cannot be read ({getattr(error, 'strerror', '') or error}), expected a file in PEM"
    if path == tls.client_ca:
        return f"{path} holds no certificate, expected those of the clients' authorities in PEM ({error})"
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return f"{tls.cert} and {tls.key} do not belong together, expected the private key of the certificate"
    return (
        f"{tls.cert} and {tls.key} hold no certificate chain and its private key in PEM, or not in this order ({error})"
    )


class _EncryptedKeyError(ValueError):
    """The private key needs a password."""


def _no_password() -> str:
    raise _EncryptedKeyError


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


def expiry_of(context: ssl.SSLContext) -> float | None:
    """When the certificate of *context* expires, in Unix seconds, from a handshake with ourselves; None if it fails.

    Python shows a certificate to the other side of a connection only, and its fields only where that side verifies. Ours
    does not, as an expired certificate has an expiry, too; so it claims to verify once the handshake is over. The handshake
    fails where OpenSSL is configured without TLS 1.3 and clients need certificates.
    """
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (client, server) * _ROUNDS:
            if _has_shaken_hands(side) and side is client:
                break
        asking.verify_mode = ssl.CERT_REQUIRED
        certificate = client.getpeercert() or {}
        return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))
    except (OSError, ValueError, KeyError):
        return None


def _has_shaken_hands(side: ssl.SSLObject) -> bool:
    """Whether the handshake is over for *side*; False where it waits for the other one."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


class Certificates(Generic[T]):
    """What new connections begin with: the newest that could be made of the files.

    Args:
        tls: The files.
        make: Makes it, of the files and of a context that has been made of them. Called in a thread.
        status: Where it reports.
        on_change: Called when a new one is in force.

    Raises:
        SettingsError: The files cannot be used.
    """

    def __init__(
        self,
        tls: Tls,
        make: Callable[[Tls, ssl.SSLContext], T],
        status: CertificateStatus,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._tls = tls
        self._make = make
        self._status = status
        self._on_change = on_change
        self._seen = fingerprint(tls)
        self._failure = ""
        self.newest, status.expires_at = self._load()
        self._check_expiry()

    async def run(self) -> None:
        """Look at the files every second, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Put changed files in force. Those that cannot be used are tried again with each look."""
        found = await asyncio.to_thread(fingerprint, self._tls)
        if found != self._seen:
            await self._renew(found)
        elif self._failure:  # the last good ones are back
            self._failure = ""
            self._status.on_not_loaded("")
        self._check_expiry()

    async def _renew(self, found: Fingerprint) -> None:
        status = self._status
        try:
            self.newest, status.expires_at = await asyncio.to_thread(self._load)
        except SettingsError as error:
            before, self._failure = self._failure, str(error).removeprefix(_CANNOT_SERVE)
            # Not at once: one file may have been written, and the other not yet.
            if before == self._failure:
                until = "" if status.expires_at is None else f", which expires at {utc(status.expires_at)}"
                status.on_not_loaded(
                    f"changed files are not in force: {before}; the last good certificate stays{until}"
                )
            return
        self._seen, self._failure = found, ""
        _LOG.info("changed certificates are in force")
        status.on_not_loaded("")
        self._on_change()

    def _load(self) -> tuple[T, float | None]:
        context = make_context(self._tls)
        try:
            return self._make(self._tls, context), expiry_of(context)
        except OSError as error:
            raise SettingsError(f"{_CANNOT_SERVE}{error}") from error

    def _check_expiry(self) -> None:
        expires_at = self._status.expires_at
        expired = expires_at is not None and time.time() >= expires_at
        self._status.on_expired(
            f"the certificate expired at {utc(expires_at or 0)}; clients refuse it" if expired else ""
        )
