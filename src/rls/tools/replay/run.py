"""Logs and rule sets → what the rules would have done."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, tzinfo
from typing import NamedTuple

from rls.core.rules import RuleSet
from rls.tools.replay.access import AccessReader, text_reader
from rls.tools.replay.decisions import DecisionReader
from rls.tools.replay.descriptors import GUESSES, Condition, Part, RequestMapping, as_in_istio
from rls.tools.replay.formats import KNOWN
from rls.tools.replay.guess import guessed
from rls.tools.replay.logs import Log
from rls.tools.replay.order import Lines, by_time
from rls.tools.replay.play import COUNTERS, Replay, Side
from rls.tools.replay.records import Line, Reader, json_record

TOLERANCE = 10.0
"""Seconds that a line may come after later ones and still be put in its place: logs have requests as they end."""


class Options(NamedTuple):
    """How logs are read.

    Attributes:
        form: One of `formats.FORMATS`, or a format string of Envoy.
        descriptors: Of an access log; empty for those of istio/envoyfilter.yaml.
        domain: Of the requests of an access log; "" where the rules have one domain only.
        conditions: Which lines of an access log are played.
        time: Field of an access log with the time; "" for one with a usual name.
        zone: Holds for times that name none.
    """

    form: str = "auto"
    descriptors: Sequence[tuple[Part, ...]] = ()
    domain: str = ""
    conditions: Sequence[Condition] = ()
    time: str = ""
    zone: tzinfo = UTC


class Replayed(NamedTuple):
    """What came of it.

    Attributes:
        replay: What the rules did.
        lines: What became of the lines.
        decisions: Whether a decision log was played.
        refusals_only: Whether all lines are those of a decision log that lets refusals in only.
    """

    replay: Replay
    lines: Lines
    decisions: bool
    refusals_only: bool


def run(
    logs: Sequence[Log],
    rule_sets: Mapping[str, RuleSet],
    options: Options,
    *,
    watch: Callable[[Iterator[Line]], Iterator[Line]] = iter,
    counters: int = COUNTERS,
) -> Replayed:
    """Play the requests of *logs* through one or two *rule_sets*, by what they are called.

    Args:
        logs: Read at once, by time.
        rule_sets: The first is the one that is judged; the second, if any, the one to compare with.
        options: How logs are read.
        watch: Passes the lines on, and may show how far it is.
        counters: Counters that each rule set holds at most.

    Raises:
        ValueError: The format does not fit the other options; with the reason.
        DomainMissing: An access log needs a domain.
    """
    make = _readers(options, rule_sets)
    replay = Replay([Side(name, rules, counters=counters) for name, rules in rule_sets.items()])
    lines, readers = Lines(), list[Reader]()
    with _collector_slowed():
        replay.play(watch(by_time(logs, make, TOLERANCE, lines, readers)))
    decisions = [reader for reader in readers if isinstance(reader, DecisionReader)]
    refusals_only = bool(decisions) and not any(reader.passed for reader in decisions)
    return Replayed(replay, lines, bool(decisions), refusals_only)


class DomainMissing(Exception):
    """The rules have several domains, and an access log does not say which one is asked."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"the rules have the domains {', '.join(names)}: expected --domain NAME with one of them")


def _readers(options: Options, rule_sets: Mapping[str, RuleSet]) -> Callable[[bytes], Reader | None]:
    """What makes a reader for a log that has the given line."""
    names = list(dict.fromkeys(name for rules in rule_sets.values() for name in rules.domains))
    domain = options.domain or (names[0] if len(names) == 1 else "")
    make = _makers(options, domain)

    def reader(line: bytes) -> Reader | None:
        found = make(line)
        if isinstance(found, AccessReader) and not domain:
            raise DomainMissing(names)
        return found

    return reader


def _makers(options: Options, domain: str) -> Callable[[bytes], Reader | None]:
    time = (options.time,) if options.time else GUESSES["time"]
    mapping = RequestMapping(domain, tuple(options.descriptors) or as_in_istio(), time, tuple(options.conditions))
    zone = options.zone
    if options.form == "auto":
        return lambda line: guessed(line, mapping, zone)
    if options.form == "json":
        return lambda _: AccessReader(mapping, zone, json_record)
    if options.form == "decisions":
        return lambda _: DecisionReader(zone)
    form = KNOWN.get(options.form, options.form)
    text_reader(form, mapping, zone)  # a mistake in it shows before any line is read
    return lambda _: text_reader(form, mapping, zone)


@contextmanager
def _collector_slowed() -> Iterator[None]:
    """Nothing here is a cycle, and the collector would go through all that is remembered again and again."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
