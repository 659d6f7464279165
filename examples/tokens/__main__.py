"""Mint a token: `python -m examples.tokens company_id=acme`.

The key is kept in a file, so that later tokens fit the same key set. All claims are strings.
"""

import argparse
from pathlib import Path

from examples.tokens.issuer import AUDIENCE, ISSUER, Issuer


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.tokens", description="Mint a token, or print the key set."
    )
    parser.add_argument("claims", nargs="*", metavar="CLAIM=VALUE", help="such as company_id=acme")
    parser.add_argument("--jwks", action="store_true", help="print the key set that verifies the tokens, instead")
    parser.add_argument("--key", type=Path, default=Path("tokens.pem"), help="private key; made where it is missing")
    parser.add_argument("--lifetime", type=float, default=3600, metavar="SECONDS", help="negative: already expired")
    parser.add_argument("--issuer", default=ISSUER)
    parser.add_argument("--audience", default=AUDIENCE)
    arguments = parser.parse_args()
    key: Path = arguments.key
    issuer = Issuer(key.read_bytes() if key.exists() else b"", issuer=arguments.issuer, audience=arguments.audience)
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(issuer.pem())
    claims = {}
    for claim in arguments.claims:
        name, equals, value = claim.partition("=")
        if not name or not equals:
            parser.error(f"{claim!r} is not CLAIM=VALUE")
        claims[name] = value
    print(issuer.jwks() if arguments.jwks else issuer.token(claims, lifetime=arguments.lifetime))


if __name__ == "__main__":
    main()
