"""Tokens as an identity provider would issue them, for examples and tests. Not for anything that must be secret."""

from examples.tokens.issuer import AUDIENCE, ISSUER, Claim, Issuer

__all__ = ["AUDIENCE", "ISSUER", "Claim", "Issuer"]
