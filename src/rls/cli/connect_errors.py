"""What gRPC reports when it cannot connect, in words that say what to do."""

from __future__ import annotations

_EXPECTED = "expected the address of its --grpc, which is port 8081 by default"
_CAUSES = (
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS on this port: leave out --tls and its options"),
    ("CERTIFICATE_VERIFY_FAILED", "the server's certificate is not trusted: check --tls-ca"),
    ("Hostname Verification Check failed", "the server's certificate is for another name: check --tls-server-name"),
    ("Failed to create security handshaker", "a TLS file cannot be used: check --tls-ca, --tls-cert and --tls-key"),
    ("Failed parsing HTTP/2", f"the server there does not speak gRPC: {_EXPECTED}"),
    ("Connection refused", f"no server listens there: {_EXPECTED}"),
    ("Domain name not found", "host name not found: expected one that DNS knows, or an IP address"),
    ("No such file or directory", "no server listens there: expected the path of its --grpc, as unix:/path"),
)
"""A part of gRPC's text → what it means."""
_CLOSED = ("Socket closed", "Connection reset by peer")
"""What gRPC says of a connection that the server closed, early or late."""


def explain(text: str, *, tls: bool) -> str:
    """*text* of an answer that did not come, in words; as it is where it needs none. *tls*: whether TLS was used."""
    if any(closed in text for closed in _CLOSED):
        why = "a client certificate that it trusts (--tls-cert, --tls-key)" if tls else "TLS (--tls)"
        return f"the server closed the connection: it may require {why}"
    for part, words in _CAUSES:
        if part in text:
            return words
    return text
