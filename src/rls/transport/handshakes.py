"""Why a TLS handshake failed, in words that say what to change."""

from __future__ import annotations

import ssl

NO_ALPN = "the client did not agree to HTTP/2 (ALPN `h2`)"
_NO_TLS = "the client does not speak TLS, or the server must not: see --tls-cert"
_DISTRUSTED = "the client does not trust the certificate of --tls-cert"
_ABANDONED = "the client closed the connection before the handshake was over"
_REASONS = {
    "HTTP_REQUEST": _NO_TLS,
    "HTTPS_PROXY_REQUEST": _NO_TLS,
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "TLSV1_ALERT_UNKNOWN_CA": _DISTRUSTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _DISTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": f"{_DISTRUSTED}, or expects another name in it",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that the certificate of --tls-cert has expired: compare the clocks",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client sent no certificate, and --tls-client-ca demands one",
    "UNSUPPORTED_PROTOCOL": "the client speaks no TLS from 1.2 on",
    "NO_SHARED_CIPHER": "the client offers no cipher that HTTP/2 allows (RFC 9113, section 9.2.2)",
    "UNEXPECTED_EOF_WHILE_READING": _ABANDONED,
}
"""OpenSSL's reason → what it means here."""


def why(error: OSError) -> str:
    """What *error*, with which a handshake ended, means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate does not come from --tls-client-ca ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return _REASONS.get(error.reason or "", error.reason or str(error))
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ConnectionError):
        return _ABANDONED
    return error.strerror or str(error)
