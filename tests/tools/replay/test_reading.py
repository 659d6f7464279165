"""Lines of logs: formats, times, fields, order, and what cannot be read."""

from __future__ import annotations

import gzip
import json
import re
import time
from datetime import UTC
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.core.model import Request
from rls.printable import printable
from rls.tools.replay.access import text_reader
from rls.tools.replay.decisions import DecisionReader, unescaped
from rls.tools.replay.descriptors import GUESSES, RequestMapping, as_in_istio, read_condition, read_descriptor
from rls.tools.replay.formats import ENVOY, ISTIO, TextFormat
from rls.tools.replay.guess import guessed
from rls.tools.replay.logs import LONGEST_LINE, Log, blocks
from rls.tools.replay.order import Lines, by_time
from rls.tools.replay.records import Line, Reader, json_record
from rls.tools.replay.times import unix_seconds, zone_of

AT = 1_796_000_000
WHEN = "2026-11-30T00:53:20Z"
MAPPING = RequestMapping("mesh", as_in_istio())


def texts(request: Request | None) -> list[str]:
    return [] if request is None else [descriptor.text for descriptor in request.descriptors]


def reader_of(line: bytes) -> Reader | None:
    return guessed(line, MAPPING, UTC)


def read(line: str, mapping: RequestMapping = MAPPING) -> Line:
    reader = guessed(line.encode("utf-8", "surrogateescape"), mapping, UTC)
    assert reader is not None
    found = reader.read(line.encode("utf-8", "surrogateescape"))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "zone"),
    [
        (WHEN, "UTC"),
        ("2026-11-30T01:53:20+01:00", "UTC"),
        ("2026-11-30 01:53:20", "Europe/Berlin"),
        ("2026-11-30 00:53:20 UTC", "Europe/Berlin"),
        ("2026-11-30T02:23:20.000000000", "+01:30"),
        ("30/Nov/2026:01:53:20 +0100", "UTC"),
        ("30/Nov/2026:00:53:20", "UTC"),
        (AT, "UTC"),
        (float(AT), "+02:00"),
        (str(AT), "Europe/Berlin"),
        (AT * 1_000, "UTC"),
        (f"{AT}000000", "UTC"),
        (AT * 10**9, "UTC"),
    ],
)
def test_times(value: object, zone: str) -> None:
    assert unix_seconds(value, zone_of(zone)) == AT


def test_a_time_without_a_zone_is_in_winter_or_in_summer() -> None:
    berlin = zone_of("Europe/Berlin")
    assert unix_seconds("2026-07-01T02:00:00", berlin) == unix_seconds("2026-07-01T00:00:00Z")
    assert unix_seconds("2026-12-01T02:00:00", berlin) == unix_seconds("2026-12-01T01:00:00Z")


@pytest.mark.parametrize(
    "value", [None, True, "", "-", "yesterday", "2026-13-01T00:00:00Z", "nan", -5, [], "30/Foo/2026:00:00:00"], ids=repr
)
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match="is no time, expected one such as 2026-11-29T05:41:43Z"):
        unix_seconds(value)


ISTIO_LINE = (
    f'[{WHEN}] "GET /a?x=1 HTTP/1.1" 429 RL request_rate_limited - "-" 0 0 1 - "203.0.113.9" "curl \\"8\\" x" '
    '"id-1" "users" "-" inbound|8080|| - 10.1.1.1:8080 10.2.3.4:51324 outbound_.80_._.users default'
)
ENVOY_LINE = f'[{WHEN}] "GET /a HTTP/2" 200 - 0 5 1 0 "203.0.113.9, 10.0.0.1" "agent" "id-1" "users" "10.1.1.1:80"'


def test_lines_of_istio_and_of_envoy_are_known() -> None:
    """A quote in a user agent, which its client chooses, does no harm; an address loses its port."""
    at, asked, refused = read(ISTIO_LINE)
    assert (at, texts(asked.request), refused) == (AT, ["remote_address=10.2.3.4"], True)
    by_header = RequestMapping("mesh", (read_descriptor("remote_address=req(x-forwarded-for)"),))
    at, asked, refused = read(ENVOY_LINE, by_header)
    assert (at, texts(asked.request), refused) == (AT, ["remote_address=203.0.113.9, 10.0.0.1"], False)


def test_a_format_of_ones_own() -> None:
    form = "%START_TIME(%d/%b/%Y:%H:%M:%S %z)% %REQ(X-COMPANY):8% %% <%REQ(:PATH)%>\n"
    mapping = RequestMapping("mesh", (read_descriptor("company=REQ(X-Company),generic_key='all'"),))
    reader = text_reader(form, mapping, UTC)
    found = reader.read(b"30/Nov/2026:01:53:20 +0100 acme % </a>")
    assert found is not None
    assert found.at == AT
    assert texts(found.asked.request) == ["company=acme,generic_key=all"]
    with pytest.raises(ValueError, match="the line is not as the format has it"):
        reader.read(b"something else")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("nothing", "expected auto, json, decisions, istio, envoy, or a format string"),
        ("%START_TIME%%REQ(A)%", "two operators without text between them"),
        ("%START_TIME% %REQ(A)%", "the format has no company, expected one of: START_TIME, REQ(A)"),
        ("%REQ(COMPANY)% %REQ(A)%", "the format has no START_TIME"),
    ],
)
def test_formats_that_cannot_be_read(form: str, message: str) -> None:
    names = ("company" if "START" in form else "REQ(COMPANY)",)
    mapping = RequestMapping("mesh", (read_descriptor(f"company={names[0]}"),))
    with pytest.raises(ValueError, match=re.escape(message)):
        text_reader(form, mapping, UTC)


@pytest.mark.parametrize("form", [ISTIO, ENVOY], ids=["istio", "envoy"])
@pytest.mark.parametrize("filler", ['"', " ", '" "', "a", "[", "] "], ids=repr)
def test_no_line_takes_long(form: str, filler: str) -> None:
    """Clients choose parts of a line, and each character is looked at a bounded number of times."""
    line = f"[{WHEN}" + filler * (20_000 // len(filler))
    began = time.process_time()
    TextFormat(form).read(line)
    assert time.process_time() - began < 5  # milliseconds; hours if it went back


def access(**fields: Any) -> str:
    return json.dumps({"time": WHEN, "flags": "-", "address": "10.0.0.1", "company_id": "acme", **fields})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (access(), ["company_id=acme", "remote_address=10.0.0.1"]),
        (access(company_id=None), ["remote_address=10.0.0.1"]),
        (access(company_id="-"), ["remote_address=10.0.0.1"]),
        (access(company_id=12.0, address="[2001:db8::1]:443"), ["company_id=12", "remote_address=2001:db8::1"]),
        (access(company_id=True, address="2001:db8::1"), ["company_id=true", "remote_address=2001:db8::1"]),
        (access(company_id="ä\udcff"), ["company_id=ä\udcff", "remote_address=10.0.0.1"]),
        (f"2026-11-30T00:53:21Z stdout F {access()}\r", ["company_id=acme", "remote_address=10.0.0.1"]),
        (
            json.dumps({"start_time": WHEN, "downstream_remote_address": "10.0.0.9:512", "response_flags": "RL,DC"}),
            ["remote_address=10.0.0.9"],
        ),
    ],
)
def test_json(line: str, expected: list[str]) -> None:
    at, asked, _ = read(line)
    assert (at, texts(asked.request)) == (AT, expected)


def test_fields_inside_of_others_and_conditions() -> None:
    conditions = (read_condition("http.code!=401"), read_condition("upstream=inbound*"))
    descriptors = (read_descriptor("company=labels.company,path=a.b"),)
    mapping = RequestMapping("mesh", descriptors, GUESSES["time"], conditions)
    line = {"ts": AT, "labels": {"company": "acme"}, "a.b": "/x", "http": {"code": 200}, "upstream": "inbound|80||"}
    reader = guessed(json.dumps(line).encode(), mapping, UTC)
    assert reader is not None
    changes: list[tuple[dict[str, Any], list[str] | None]] = [
        ({}, ["company=acme,path=/x"]),
        ({"http": {"code": 401}}, None),
        ({"upstream": "outbound|80||x"}, None),
        ({"labels": "none"}, None),
    ]
    for changed, expected in changes:
        found = reader.read(json.dumps({**line, **changed}).encode())
        assert (None if found is None else texts(found.asked.request)) == expected
    assert (reader.skipped, reader.bare) == (2, 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("no JSON", "no JSON object here"),
        ('{"a": ', "no JSON: Expecting value at column 7"),
        (access() + "}", "more than a JSON object"),
        ('{"a": ' * 100_000, "JSON too deep to be read"),
        ('{"message": "hello"}', "no field with the time: expected --time FIELD, one of message"),
        (access(time="soon"), "'soon' is no time"),
        (access(company_id="\ud800"), "a value is half of a pair of surrogates"),
    ],
)
def test_what_cannot_be_read(line: str, reason: str) -> None:
    reader = guessed(access().encode(), MAPPING, UTC)
    assert reader is not None
    with pytest.raises(ValueError, match=reason):
        reader.read(line.encode())


@given(st.text())
def test_a_decision_log_has_text_as_it_was(text: str) -> None:
    if not re.search("[\ud800-\udfff]", text):
        assert unescaped(printable(text)) == text


def test_lines_of_a_decision_log() -> None:
    """Times are those at which requests came; a limit that a request brought is its own again."""
    line = {
        "time": "2026-11-30T00:53:20.500000Z", "domain": "mesh", "rule": "company_id", "name": None, "place": "r.yaml:3",
        "descriptor": ["company_id=a=b", "path=/\\xff\\n"], "outcome": "over_limit", "count": 6, "limit": 5, "window": 60,
        "hits": 2, "answered_by": "redis", "policy": None, "reason": None, "seconds": 0.75, "trace_id": None,
        "revision": "28e5c9b82d64",
    }  # fmt: skip
    at, asked, refused = read(json.dumps(line))
    assert (at, refused) == (AT - 0.25, True)
    assert asked.request is not None
    (descriptor,) = asked.request.descriptors
    assert (asked.request.domain, descriptor.hits_addend, descriptor.limit) == ("mesh", 2, None)
    assert descriptor.entries == (("company_id", "a=b"), ("path", "/\udcff\n"))
    _, asked, _ = read(json.dumps({**line, "rule": "(override)", "hits": -3}))
    assert asked.request is not None
    (descriptor,) = asked.request.descriptors
    assert descriptor.limit is not None
    assert (descriptor.limit.requests_per_unit, descriptor.limit.window_seconds) == (5, 60)
    assert (descriptor.hits_addend, descriptor.is_negative_hits) == (3, True)
    with pytest.raises(ValueError, match="it is no line of a decision log"):
        DecisionReader(UTC).read(b"{}")


def played(*logs: Path, tolerance: float = 10.0) -> tuple[list[float], Lines]:
    lines = Lines()
    opened = [Log(str(path)) for path in logs]
    return [line.at for line in by_time(opened, reader_of, tolerance, lines, [])], lines


def test_lines_are_put_in_the_order_of_their_times(tmp_path: Path) -> None:
    """In one log those of some seconds, between logs all; what comes too late is played at its own time."""
    one, two = tmp_path / "one.log", tmp_path / "two.log.gz"
    offsets = [number - (number % 7) for number in range(40_000)]
    one.write_text("".join(access(time=AT + offset) + "\n" for offset in offsets))
    two.write_bytes(gzip.compress("".join(access(time=AT + offset + 0.5) + "\n" for offset in range(3)).encode()))
    times, lines = played(two, one)
    assert times == sorted(times)
    assert len(times) == 40_003
    assert (lines.out_of_order, lines.late, lines.furthest) == (0, 0, 0.0)
    offsets[5], offsets[30_000] = 9, 25_000
    one.write_text("".join(access(time=AT + offset) + "\n" for offset in offsets))
    times, lines = played(one)
    assert (lines.late, lines.furthest) == (1, offsets[29_999] - 25_000)
    assert [later for earlier, later in pairwise(times) if later < earlier] == [AT + 25_000]


def test_lines_that_cannot_be_read_are_counted_and_the_first_named(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    too_long = access(path="x" * 3 * LONGEST_LINE)
    log.write_text("\n".join(["starting", access(), "", "{", too_long, access(), *["?"] * 9]))
    times, lines = played(log)
    assert len(times) == 2
    assert (lines.read, lines.unreadable) == (14, 12)
    assert [place for place, _ in lines.shown] == [f"{log}:{number}" for number in (1, 4, 5, 7, 8)]
    assert lines.shown[2][1] == "it has more than 1,048,576 bytes"


def test_a_gzip_file_that_ends_early(tmp_path: Path) -> None:
    log = tmp_path / "access.log.gz"
    log.write_bytes(gzip.compress(b"".join(access(time=AT + n).encode() + b"\n" for n in range(5_000)))[:-200])
    times, lines = played(log)
    assert 0 < len(times) < 5_000
    assert lines.broken == [(str(log), "Compressed file ended before the end-of-stream marker was reached")]


@given(st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line)), st.integers(1, 7))
def test_lines_are_whole_however_they_are_read(lines: list[bytes], size: int) -> None:
    text = b"\n".join(lines)
    found = [line for block in blocks(text[at : at + size] for at in range(0, len(text), size)) for line in block]
    assert found == (text.removesuffix(b"\n").split(b"\n") if text else [])


def test_json_with_a_prefix() -> None:
    assert json_record(b'[pod/gateway] {"a": 1} ') == {"a": 1}
