"""Certificates: whose a client's is, and whether ours have changed on disk."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from rls.transport.base import Tls

# RFC 5280: subjectAltName, and the tags of the names that identify a workload.
_SUBJECT_ALT_NAME = bytes.fromhex("0603551d11")
_DNS_NAME = 0x82
_URI = 0x86
_SEQUENCE = 0x30
_OCTET_STRING = 0x04
_EXTENSIONS = 0xA3

Fingerprint: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""What is known of files without reading them; None for one that is missing."""


def alternative_names(pem: str) -> frozenset[str]:
    """DNS names and URIs that the certificate *pem* was issued for.

    It has been verified: only what was signed by the client CA gets here. The standard library shows the names of a
    certificate only to who holds the TLS connection, so its few nested fields are walked here.
    """
    to_be_signed = _one(_one(ssl.PEM_cert_to_DER_cert(pem), _SEQUENCE), _SEQUENCE)
    extensions = next((contents for tag, contents in _fields(to_be_signed) if tag == _EXTENSIONS), None)
    if extensions is None:
        return frozenset()
    for _, extension in _fields(_one(extensions, _SEQUENCE)):
        if extension.startswith(_SUBJECT_ALT_NAME):
            value = next((contents for tag, contents in _fields(extension) if tag == _OCTET_STRING), b"")
            names = _fields(_one(value, _SEQUENCE))
            return frozenset(name.decode("latin-1") for tag, name in names if tag in (_DNS_NAME, _URI))
    return frozenset()


class ClientNames:
    """Says whether a client's certificate holds one of *allowed*: DNS names in any case, or URIs."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(name if "://" in name else name.lower() for name in allowed)

    def allow(self, names: Iterable[str]) -> bool:
        """Whether one of *names*, those of a verified certificate, is among them."""
        return not self._allowed.isdisjoint(name if "://" in name else name.lower() for name in names)

    @lru_cache(maxsize=1024)  # noqa: B019 - there are one or two of these in a process
    def allow_certificate(self, pem: str) -> bool:
        """The same for a certificate, which is parsed once."""
        return self.allow(alternative_names(pem))


def fingerprint(tls: Tls) -> Fingerprint:
    """Changes whenever one of the files does; a symlink's target counts, as Kubernetes swaps them."""
    return tuple(_state(path) for path in (tls.cert, tls.key, tls.client_ca) if path is not None)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def _one(der: bytes, tag: int) -> bytes:
    """The contents of the first field of *der*, which must have *tag*."""
    found, contents = next(_fields(der), (0, b""))
    if found != tag:
        raise ValueError(f"not a certificate: found tag {found:#x}, expected {tag:#x}")
    return contents


def _fields(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and contents of each field of *der* (X.690, definite lengths)."""
    at = 0
    while at + 2 <= len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            octets = length & 0x7F
            length = int.from_bytes(der[at : at + octets], "big")
            at += octets
        if at + length > len(der):
            raise ValueError("not a certificate: a field is cut short")
        yield tag, der[at : at + length]
        at += length
