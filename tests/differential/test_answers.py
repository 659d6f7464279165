"""The same configurations and requests, given to `rls` and to the reference, get the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rls.backends.memory import MemoryBackend
from rls.backends.redis.backend import RedisBackend
from rls.core.keys import KeyFormat
from tests.differential.answers import VARIANTS, Ours, Pair, Variant
from tests.differential.cases import Case, cases
from tests.differential.conftest import DIFFERENCES, Progress
from tests.differential.reference import reference_server

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
PHASES = [Phase.generate, Phase.shrink]


@pytest.fixture(params=VARIANTS, ids=lambda variant: variant.name)
def pair(request: pytest.FixtureRequest, tmp_path: Path, redis_port: int) -> Iterator[Pair]:
    variant: Variant = request.param
    redis = RedisBackend(f"redis://127.0.0.1:{redis_port}", timeout_seconds=10)
    ours = [
        Ours(variant, MemoryBackend(), KeyFormat.V1),
        Ours(variant, redis, KeyFormat.COMPAT),
    ]
    with (
        reference_server(tmp_path / "reference", redis_port, variant.reference) as reference,
        asyncio.Runner() as runner,
    ):
        yield Pair(variant, reference, ours, runner.get_loop())
        runner.run(redis.aclose())


def test_same_answers(pair: Pair, examples: int, progress: Progress) -> None:
    """Random rules and requests are answered as the reference answers them; what is not, is shrunk and printed."""

    @settings(max_examples=examples, database=None, phases=PHASES, suppress_health_check=QUIET, print_blob=False)
    @given(cases())
    def compare(case: Case) -> None:
        difference = pair.differ(case)
        progress({"configurations": 1, "requests": len(case.steps), DIFFERENCES: bool(difference)})
        if difference:
            scenario = pair.scenario(case, "(what is promised)").dump()
            pytest.fail(f"{difference}\n--- as a scenario, with the reference's answers:\n{scenario}", pytrace=False)

    compare()
