"""What kind of log a line is of."""

from __future__ import annotations

from datetime import tzinfo

from rls.tools.replay.access import AccessReader, text_reader
from rls.tools.replay.decisions import DecisionReader
from rls.tools.replay.descriptors import RequestMapping
from rls.tools.replay.formats import KNOWN, TextFormat
from rls.tools.replay.records import Reader, json_record

_DECISION_FIELDS = frozenset({"outcome", "descriptor", "answered_by", "revision"})


def guessed(line: bytes, mapping: RequestMapping, zone: tzinfo) -> Reader | None:
    """A reader for a log that has *line*; None where it is like none of those that are known."""
    try:
        record = json_record(line)
    except ValueError:
        text = line.decode("utf-8", "surrogateescape").rstrip("\r")
        for name in KNOWN:
            if TextFormat(KNOWN[name]).read(text) is not None:
                return text_reader(KNOWN[name], mapping, zone)
        return None
    return DecisionReader(zone) if record.keys() >= _DECISION_FIELDS else AccessReader(mapping, zone, json_record)
