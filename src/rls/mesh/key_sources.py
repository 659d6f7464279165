"""How Envoy gets the entries of descriptors: an action of config.route.v3.RateLimit for each key of the rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from rls.core.actions import JWT_METADATA
from rls.errors import RlsError
from rls.mesh.shapes import Shape, Step

GENERIC_KEY = "generic_key"
_ALONE = ("remote_address", "masked_remote_address", "source_cluster", "destination_cluster")
"""Actions that make the key of their own name, and need no fields."""
_HEADERS = {"path": ":path", "method": ":method", "authority": ":authority"}
"""Headers that keys of these names stand for."""

Action: TypeAlias = dict[str, Any]


class NoSource(RlsError):
    """Keys of the rules that nothing is known to fill.

    Attributes:
        keys: The keys.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f"nothing says where Envoy gets {', '.join(keys)} from")
        self.keys = tuple(keys)


class Sources:
    r"""What fills keys.

    Args:
        claims: Path of the claim in a token, by key: `plan` or `org.plan`; a dot in a name is `\.`.
        headers: Name of the header, by key.
        queries: Name of the query parameter, by key.
        constants: Keys whose values are those in the rules, whatever the request.
    """

    def __init__(
        self,
        claims: Mapping[str, str],
        headers: Mapping[str, str],
        queries: Mapping[str, str],
        constants: Sequence[str] = (),
    ) -> None:
        self._claims = claims
        self._headers = {**_HEADERS, **headers}
        self._queries = queries
        self.constants = frozenset({GENERIC_KEY, *constants})

    def rate_limits(self, shapes: Sequence[Shape]) -> list[dict[str, Any]]:
        """An item of `rate_limits` for each of *shapes*.

        Raises:
            NoSource: It is not known what fills some keys.
        """
        missing = dict.fromkeys(step.key for shape in shapes for step in shape if not self._knows(step))
        if missing:
            raise NoSource(list(missing))
        return [{"actions": [self._action(step) for step in shape]} for shape in shapes]

    def _knows(self, step: Step) -> bool:
        if step.key in self.constants:
            return step.value is not None
        return step.key in _ALONE or any(step.key in known for known in (self._claims, self._headers, self._queries))

    def _action(self, step: Step) -> Action:
        key = step.key
        if key in self.constants:
            named = {} if key == GENERIC_KEY else {"descriptor_key": key}
            return {"generic_key": {**named, "descriptor_value": step.value}}
        if key in self._claims:
            steps = re.split(r"(?<!\\)\.", self._claims[key])
            path = ["payload", *(step.replace("\\.", ".") for step in steps)]
            where = {"key": JWT_METADATA, "path": [{"key": part} for part in path]}
            return {"metadata": {"descriptor_key": key, "source": "DYNAMIC", "metadata_key": where}}
        if key in self._queries:
            query = {"query_parameter_name": self._queries[key], "descriptor_key": key}
            return {"query_parameters": query}
        if key in self._headers:
            return {"request_headers": {"header_name": self._headers[key], "descriptor_key": key}}
        return {key: {}}
