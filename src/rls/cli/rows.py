"""What rows of the admin API, and the metadata of answers, name, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rule_text(row: Mapping[str, Any]) -> str:
    """The rule that *row* names, as `RuleId` says it; without its domain where *row* has none."""
    domain = f"{row['domain']} " if row.get("domain") else ""
    name = f" ({row['name']})" if row.get("name") else ""
    place = f" at {row['place']}" if row.get("place") else ""
    return f"{domain}{row['rule']}{name}{place}"
