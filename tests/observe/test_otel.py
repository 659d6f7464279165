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
