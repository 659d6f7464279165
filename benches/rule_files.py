"""Files of rules that benches write, and how often a server has loaded them."""

from __future__ import annotations

from pathlib import Path

from benches.messages import RULES

COMPANIES = 10_000
MANY = 100_000


def of_companies() -> str:
    """A rule for each of `COMPANIES`, with a limit that no bench reaches, so that each has its series."""
    one = "  - {{key: company_id, value: company-{:05}, rate_limit: {{unit: hour, requests_per_unit: 4000000000}}}}\n"
    return RULES + "".join(map(one.format, range(COMPANIES)))


def many(limit: int) -> str:
    """`MANY` rules of one domain, of which each has its limit: *limit* to *limit* + 999."""
    rules = (
        f"- key: company_id\n  value: company-{number:06}\n"
        f"  rate_limit: {{unit: minute, requests_per_unit: {limit + number % 1000}}}\n"
        for number in range(MANY)
    )
    return "domain: many\ndescriptors:\n" + "".join(rules)


def few(domain: str, key: str) -> str:
    """One rule."""
    return f"domain: {domain}\ndescriptors:\n- {{key: {key}, rate_limit: {{unit: hour, requests_per_unit: 5}}}}\n"


def replace(path: Path, text: str) -> None:
    """Write a file whose readers see the old text or the new one, and nothing between."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def times_loaded(log: Path) -> int:
    """How often the server that writes *log* has loaded rules."""
    return log.read_text().count("rules_loaded")
