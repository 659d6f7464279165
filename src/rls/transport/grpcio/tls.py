"""TLS of the grpcio transport: its core asks for certificates with each handshake, and gets the newest."""

from __future__ import annotations

from typing import Any

import grpc

from rls.transport.base import Tls
from rls.transport.tls import Certificates


def configuration(tls: Tls, _: object) -> grpc.ServerCertificateConfiguration:
    """What grpc makes of the files as they are now.

    Raises:
        OSError: One cannot be read.
    """
    client_ca = None if tls.client_ca is None else tls.client_ca.read_bytes()
    return grpc.ssl_server_certificate_configuration([(tls.key.read_bytes(), tls.cert.read_bytes())], client_ca)


def newest_credentials(
    certificates: Certificates[grpc.ServerCertificateConfiguration], tls: Tls
) -> grpc.ServerCredentials:
    """Credentials that are, with each handshake, the newest of *certificates*."""
    in_force = certificates.newest

    def changed() -> Any:  # None where nothing has changed, which the stubs do not know
        nonlocal in_force
        if certificates.newest is in_force:
            return None
        in_force = certificates.newest
        return in_force

    return grpc.dynamic_ssl_server_credentials(in_force, changed, tls.client_ca is not None)
