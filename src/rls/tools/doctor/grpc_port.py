"""Asks the gRPC port: health, one check that counts nothing, and how long checks take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rls.api.client import Client, ClientTls, UnansweredError
from rls.core.model import Descriptor, Entry, RateLimit, Request, Unit
from rls.errors import SettingsError
from rls.tools.doctor.result import Result, bad, good, milliseconds, unknown

CHECKS = 100
"""Checks that are measured; of so many, one may be slower than the 99th percentile."""
_TIMEOUT = 3.0
_LOOKED_AT = Entry("rls_doctor", "")


class GrpcPort:
    """The port at *address*, which is dialled with *tls*.

    Attributes:
        p99: Seconds that 99 of 100 checks took at most; None without answers.
    """

    def __init__(self, address: str, tls: ClientTls | None) -> None:
        self.address = address
        self.p99: float | None = None
        self._tls = tls

    def look(self, domains: Sequence[str]) -> Iterator[Result]:
        """Ask; *domains* are those that Envoy or the rules name."""
        try:
            with Client(self.address, tls=self._tls) as client:
                yield from self._health(client)
                yield from self._checks(client, domains)
        except (UnansweredError, SettingsError) as error:
            text = error.text if isinstance(error, UnansweredError) else str(error)
            yield bad("grpc", f"{self.address} does not answer: {text}", "start it, or correct --grpc or --tls")

    def _health(self, client: Client) -> Iterator[Result]:
        status = client.health(timeout=_TIMEOUT)
        if status == "SERVING":
            yield good("health", "gRPC health says SERVING")
        else:
            yield bad("health", f"gRPC health says {status}", "look at the reasons of /readyz, below")

    def _checks(self, client: Client, domains: Sequence[str]) -> Iterator[Result]:
        if not domains:
            yield unknown("grpc", "no check was sent", "name a domain of the rules: --domain NAME, or --config PATH")
            return
        known = [domain for domain in domains if client.knows_domain(domain, timeout=_TIMEOUT)]
        yield self._measured(client, (known or domains)[0])
        for domain in domains:
            if domain in known:
                yield good("domain", f"the server has rules for the domain {domain}")
            else:
                advice = "write `domain` in the rules and in Envoy's filter alike; case counts"
                yield bad("domain", f"the server has no rules for the domain {domain}: every request passes", advice)

    def _measured(self, client: Client, domain: str) -> Result:
        """Checks that count nothing, by a limit of their own: they ask the backend, and no rule."""
        request = Request(domain, (Descriptor((_LOOKED_AT,), RateLimit(1, Unit.SECOND), hits_addend=0),))
        answers = [client.check(request, timeout=_TIMEOUT) for _ in range(CHECKS + 5)]
        seconds = sorted(answer.seconds for answer in answers[5:])  # the first ones connect
        self.p99 = seconds[CHECKS * 99 // 100 - 1]
        if policy := answers[-1].metadata.get("on_backend_error"):
            text = f"checks are answered by on_backend_error: {policy}, not by the backend"
            return bad("grpc", text, "look at Redis, below: nothing is counted there now")
        return good("grpc", f"{self.address} answers checks; p99 of {CHECKS}: {milliseconds(self.p99)}")
