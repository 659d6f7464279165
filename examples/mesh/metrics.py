"""Prometheus text, read without a library."""

from __future__ import annotations


def total(text: str, name: str, **labels: str) -> float:
    """The sum of all samples of the metric *name* that have *labels*; 0 without any."""
    found = 0.0
    for line in text.splitlines():
        sample, _, value = line.rpartition(" ")
        named, _, pairs = sample.partition("{")
        if named == name and all(f'{label}="{text}"' in pairs for label, text in labels.items()):
            found += float(value)
    return found
