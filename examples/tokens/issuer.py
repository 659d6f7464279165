"""A key pair, its JWKS (RFC 7517) and the tokens that it signs (RFC 7519)."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER = "https://tokens.example.com"
AUDIENCE = "users"
Claim: TypeAlias = "str | int | float | bool | list[Claim] | Mapping[str, Claim]"


class Issuer:
    """Signs tokens with RS256.

    Args:
        key: An RSA private key in PEM; a new one where it is empty.
        issuer: The `iss` of its tokens.
        audience: The `aud` of its tokens.
    """

    def __init__(self, key: bytes = b"", *, issuer: str = ISSUER, audience: str = AUDIENCE) -> None:
        if key:
            loaded = serialization.load_pem_private_key(key, password=None)
            if not isinstance(loaded, rsa.RSAPrivateKey):
                raise ValueError("the key is not an RSA key")
            self._key = loaded
        else:
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.issuer = issuer
        self.audience = audience

    def pem(self) -> bytes:
        """The private key, to make the same issuer again."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def key_id(self) -> str:
        """`kid`: its key's thumbprint (RFC 7638)."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(_json(self._public()))
        return _base64(digest.finalize())

    def jwks(self) -> str:
        """The public key, as a key set in JSON: what Envoy's `local_jwks` and Istio's `jwks` take."""
        return json.dumps({"keys": [{**self._public(), "kid": self.key_id, "alg": "RS256", "use": "sig"}]})

    def token(self, claims: Mapping[str, Claim], *, lifetime: float = 3600) -> str:
        """A token with *claims* that expires in *lifetime* seconds; what they say wins over what all tokens say."""
        now = int(time.time())
        usual: dict[str, Claim] = {"iss": self.issuer, "aud": self.audience, "iat": now, "exp": now + int(lifetime)}
        header = {"alg": "RS256", "typ": "JWT", "kid": self.key_id}
        signed = f"{_base64(_json(header))}.{_base64(_json({**usual, **claims}))}"
        return f"{signed}.{_base64(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def _public(self) -> dict[str, str]:
        """The members that RFC 7638 makes a thumbprint of, in its order."""
        numbers = self._key.public_key().public_numbers()
        return {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}


def _json(value: Mapping[str, Claim]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
