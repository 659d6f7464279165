"""What OpenTelemetry's environment variables do."""

import pytest

from rls.observe.otel import TraceVariables
from rls.observe.sampling import Sampler

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}


@pytest.mark.parametrize(
    ("environ", "exporter"),
    [
        ({}, ""),
        ({"OTEL_SERVICE_NAME": "limits"}, ""),
        (ENDPOINT, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ""),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, ""),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, "otlp"),
    ],
)
def test_when_traces_are_on(environ: dict[str, str], exporter: str) -> None:
    assert TraceVariables.read(environ).exporter == exporter


def test_all_that_can_be_said() -> None:
    found = TraceVariables.read(
        {
            **ENDPOINT,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_PROPAGATORS": "b3,baggage,tracecontext",
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
        }
    )
    assert found == TraceVariables("otlp", Sampler(True, 0.25), ("b3", "tracecontext"), 100, 0.25)


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "nope"},
            "OTEL_EXPORTER_OTLP_ENDPOINT is 'nope', expected a URL such as http://collector:4317; no spans will arrive",
        ),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://"},
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is 'http://', expected a URL such as http://collector:4317",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "OTEL_EXPORTER_OTLP_ENDPOINT is 'collector:4318', expected a URL such as http://collector:4318",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://me:hunter2@collector"},
            "OTEL_EXPORTER_OTLP_ENDPOINT is 'ftp://me:***@collector', expected a URL such as http://collector:4317",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:99999"},
            "OTEL_EXPORTER_OTLP_ENDPOINT is 'http://collector:99999', expected a URL such as http://collector:4317",
        ),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'smoke', expected one of: grpc, http/protobuf; the default is used",
        ),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "5s"},
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT is '5s', expected a number of seconds above 0; the default is used",
        ),
        (
            {**ENDPOINT, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "some"},
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is 'some', expected a whole number from 1; the default is used",
        ),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": "authorization: hunter2"},
            "OTEL_EXPORTER_OTLP_HEADERS has an item that is no header, expected NAME=VALUE,NAME=VALUE; it is left out",
        ),
    ],
)
def test_what_the_exporter_cannot_use_is_told_before_it_starts(environ: dict[str, str], problem: str) -> None:
    found = TraceVariables.read(environ)
    assert found.exporter == "otlp"
    assert [one[: len(problem)] for one in found.problems] == [problem]


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://collector:4317",
        "https://user:pass@collector/path",
        "http://[::1]:4317",
        "collector:4317",
        "unix:/run/collector.sock",
        "dns:///collector:4317",
    ],
)
def test_an_endpoint_that_the_exporter_takes_is_no_mistake(endpoint: str) -> None:
    assert TraceVariables.read({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}).problems == ()


def test_headers_that_the_exporter_takes_are_no_mistake() -> None:
    assert TraceVariables.read({**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": "a=b=c, d=,"}).problems == ()


def test_by_default_only_callers_begin_traces() -> None:
    assert not TraceVariables.read(ENDPOINT).sampler.begins


def test_what_cannot_be_used_is_told_and_passed_over() -> None:
    wrong = {
        "OTEL_TRACES_SAMPLER": "sometimes",
        "OTEL_PROPAGATORS": "jaeger,b3",
        "OTEL_BSP_MAX_QUEUE_SIZE": "many",
        "OTEL_BSP_SCHEDULE_DELAY": "0",
    }
    found = TraceVariables.read({**ENDPOINT, **wrong})
    assert found._replace(problems=()) == TraceVariables("otlp", formats=("b3",))
    assert [problem.split()[0] for problem in found.problems] == list(wrong)
    assert TraceVariables.read(wrong).problems == ()
