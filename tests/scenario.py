"""Scenarios as tests make and send them; `rls.tools.rule_tests` plays them. docs/rule-tests.md says what a file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format

from rls.core.model import UINT32_MAX
from rls.proto import rls_pb2
from rls.tools.rule_tests.grammar import START, read_limit

Response = rls_pb2.RateLimitResponse


@dataclass
class Scenario:
    """One promise, as rules, timed requests and what they come to."""

    about: str
    rules: str | Mapping[str, str]
    steps: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    start: int = START

    @classmethod
    def read(cls, path: Path) -> Scenario:
        return cls(**yaml.safe_load(path.read_text()))

    def dump(self) -> str:
        """The text of its file."""
        return yaml.dump(self.__dict__, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Rules as a block; what is short on one line."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def message_of(step: Mapping[str, Any]) -> bytes:
    """The RateLimitRequest that a step sends."""
    request = rls_pb2.RateLimitRequest(domain=step.get("domain", "mesh"), hits_addend=step.get("hits_addend", 0))
    for asked in step["ask"]:
        descriptor = request.descriptors.add()
        whole = "entries" in asked or not asked
        entries = asked.get("entries", []) if whole else asked.items()
        for key, value in entries:
            descriptor.entries.add(key=key, value=value)
        if not whole:
            continue
        if "limit" in asked:
            limit = read_limit(asked["limit"])
            descriptor.limit.requests_per_unit = limit.requests_per_unit
            descriptor.limit.unit = limit.unit  # type: ignore[assignment]  # this enum has no WEEK, the wire has
            if limit.unit_multiplier != 1:
                descriptor.limit.unit_multiplier.value = limit.unit_multiplier
        if "hits_addend" in asked:
            descriptor.hits_addend.value = asked["hits_addend"]
        descriptor.is_negative_hits = asked.get("is_negative_hits", False)
    return request.SerializeToString()


def show_status(status: Response.DescriptorStatus) -> Any:
    """A DescriptorStatus as scenarios write it."""
    code = Response.Code.Name(status.code)
    if not status.HasField("current_limit"):
        if status.limit_remaining == UINT32_MAX:
            return f"{code} unlimited"
        return code if not status.limit_remaining and not status.HasField("duration_until_reset") else str(status)
    limit = status.current_limit
    units = f"{limit.unit_multiplier.value} " if limit.HasField("unit_multiplier") else ""
    shown = {
        "code": code,
        "limit": f"{limit.requests_per_unit}/{units}{Response.RateLimit.Unit.Name(limit.unit).lower()}",
        "remaining": status.limit_remaining,
        "reset": status.duration_until_reset.seconds,
    }
    return shown | ({"name": limit.name} if limit.name else {})


def show_headers(answer: Response) -> dict[str, str]:
    """The response headers by name."""
    return {header.key: header.value for header in answer.response_headers_to_add}


def show_metadata(answer: Response, directory: Path) -> dict[str, Any]:
    """The dynamic metadata as plain values; places are those in *directory*."""
    shown: dict[str, Any] = json_format.MessageToDict(answer.dynamic_metadata)
    if "place" in shown:
        shown["place"] = shown["place"].removeprefix(f"{directory}/")
    return shown
