"""An error of Redis → one sentence with the cause and, if the URL of the backend is wrong, what to change in it."""

from __future__ import annotations

import re

WITHOUT_TLS = "if this port does not speak TLS, let the URL begin with `redis` and not `rediss`"
WITH_TLS = "if this port speaks TLS, let the URL begin with `rediss` and not `redis`"
IN_A_CLUSTER = (
    "this is a node of a Redis Cluster: let the URL begin with `redis+cluster://` (`rediss+cluster://` with TLS)"
)
_REMEDIES = (
    (
        r"WRONGPASS|invalid password|invalid username",
        "correct the user and the password in the URL, or in its password_file",
    ),
    (r"NOAUTH", "give the user and the password in the URL"),
    (r"without any password configured|no password is set", "remove the password from the URL"),
    (r"DB index is out of range|invalid DB index", "correct the number of the database in the URL"),
    (
        r"cluster support disabled",
        "this is no node of a cluster: let the URL begin with `redis://` (`rediss://` with TLS)",
    ),
    (r"unknown command ['`]?SENTINEL", "this is no sentinel: let the URL begin with `redis://` (`rediss://` with TLS)"),
    (r"unknown command ['`]?(SET|INCRBY)\b", "if this is a sentinel, let the URL be `redis+sentinel://HOST:PORT/NAME`"),
    (r"CERTIFICATE_VERIFY_FAILED", "name the authority that signed its certificate in the URL: `?ssl_ca_certs=FILE`"),
)


def cause(address: str, said: object) -> str:
    """What the node at *address* *said*, and what to do about it if that is clear."""
    text = str(said).strip()
    advice = next((advice for pattern, advice in _REMEDIES if re.search(pattern, text, re.IGNORECASE)), "")
    return with_advice(f"Redis at {address}: {text}" if address else f"Redis: {text}", advice)


def with_advice(text: str, advice: str) -> str:
    """*text* and then *advice*, if there is any."""
    return f"{text.rstrip('.')}; {advice}" if advice else text
