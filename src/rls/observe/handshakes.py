"""Failed TLS handshakes as log lines."""

from __future__ import annotations

import time
from collections.abc import Callable

from rls.observe.logs import Log
from rls.observe.seldom import Seldom


def log_handshakes(log: Log, clock: Callable[[], float] = time.monotonic) -> Callable[[str, str], None]:
    """Logs the client's address and why its handshake failed: for each cause a line every ten seconds at most."""
    seldom = Seldom(clock=clock)

    def failed(client: str, reason: str) -> None:
        left_out = seldom.due(reason)
        if left_out is not None:
            log.warning("tls_handshake_failed", client=client, reason=reason, more_since_last=left_out)

    return failed
