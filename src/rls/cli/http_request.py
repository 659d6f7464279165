"""An HTTP request, as options describe it, through the actions of an EnvoyFilter."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from rls.core.actions import HttpRequest, Outcome, outcome
from rls.printable import printable
from rls.sources.disk import demand_no_device

UNVERIFIED = "the token is not verified: it counts as valid here"


class Described(NamedTuple):
    """What Envoy would send for a request.

    Attributes:
        domain: Of the filter; "" where the files name none.
        outcomes: What each item of `rate_limits` comes to.
        notes: What to know about it.
    """

    domain: str
    outcomes: Sequence[Outcome]
    notes: Sequence[str]


def http_request(
    method: str, path: str, headers: Sequence[str], token: str, address: str, clusters: Sequence[str]
) -> HttpRequest:
    """The request that options describe.

    Raises:
        ValueError: One of them is wrong.
    """
    found: dict[str, list[str]] = {}
    for text in headers:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"--header is '{text}': expected NAME: VALUE")
        found.setdefault(name.strip().lower(), []).append(value.strip())
    if address:
        try:
            ip_address(address)
        except ValueError:
            raise ValueError(f"--address is '{address}': expected an IP address") from None
    named: dict[str, str] = {}
    for text in clusters:
        kind, equals, name = text.partition("=")
        if not equals or kind not in ("source", "destination"):
            raise ValueError(f"--cluster is '{text}': expected source=NAME or destination=NAME")
        named[f"{kind}_cluster"] = name
    if not path.startswith("/"):
        raise ValueError(f"--path is '{path}': expected it to begin with /")
    return HttpRequest(method, path, found, claims_of(token) if token else None, address, named)


def claims_of(token: str) -> Mapping[str, Any]:
    """The payload of a JWT (RFC 7519), or of the file that holds one. It is decoded without being verified.

    Raises:
        ValueError: It is none.
    """
    expected = "expected a JWT, three parts with dots between them, or a file that holds one"
    try:
        if token.count(".") != 2 or Path(token).is_file():
            demand_no_device(token)
            token = Path(token).read_text()
    except (OSError, ValueError) as error:
        raise ValueError(f"--token is no JWT and no file that can be read: {expected}") from error
    parts = token.strip().removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        raise ValueError(f"--token has {len(parts)} parts: {expected}")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"--token has a payload that is no JSON in base64url: {expected}") from error
    if not isinstance(claims, dict):
        raise ValueError(  # noqa: TRY004 - as all that is wrong with an option
            f"--token has a payload that is no JSON object: {expected}"
        )
    return claims


def through_actions(paths: Sequence[Path], request: HttpRequest) -> Described:
    """What Envoy with the configuration at *paths* would send for *request*.

    Raises:
        ValueError: The files hold no rate limits, or cannot be read.
    """
    from rls.config.envoyfilter import read_filters  # noqa: PLC0415
    from rls.errors import ConfigError  # noqa: PLC0415

    domains: dict[str, None] = {}
    outcomes: list[Outcome] = []
    for path in paths:
        try:
            demand_no_device(path)
            found = read_filters(str(path), path.read_bytes())
        except OSError as error:
            raise ValueError(f"--envoyfilter: cannot read {path}: {error.strerror}") from None
        except ConfigError as error:
            raise ValueError(f"--envoyfilter: {error}") from None
        domains.update(dict.fromkeys(found.domains))
        for place, fields in found.in_force:
            where = f"{place.file}:{place.line}"
            try:
                outcomes.append(outcome(where, fields, request))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"--envoyfilter: {where}: Envoy would not take this: {error!r}") from None
    if not outcomes:
        raise ValueError(f"--envoyfilter: no `rate_limits` in {', '.join(map(str, paths))}: expected actions of Envoy")
    notes = [UNVERIFIED] if request.claims is not None else []
    if len(domains) > 1:
        notes.append(f"the files name the domains {', '.join(domains)}; this is the first")
    return Described(next(iter(domains), ""), outcomes, [printable(note) for note in notes])
