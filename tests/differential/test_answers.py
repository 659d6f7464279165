"""The same configurations and requests, given to `rls` and to the reference, get the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis.strategies import SearchStrategy

from rls.core.keys import KeyFormat
from rls.stores.memory import MemoryStore
from rls.stores.redis.single import RedisStore
from tests.differential.answers import VARIANTS, Asked, InProcess, InTurn, Pair, TooSlow, Variant
from tests.differential.cases import CASES, Case, cases, many_cases
from tests.differential.conftest import DIFFERENCES, Progress
from tests.differential.reference import reference_server, rls_server
from tests.scenario import Response, Scenario, message_of

RAISED = Path(__file__).parent.parent / "scenarios" / "reload_raises_past_over_limit_hits.yaml"
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
PHASES = [Phase.generate, Phase.shrink]
SERVED = [*((variant, "native") for variant in VARIANTS), (VARIANTS[1], "grpcio")]


@contextmanager
def in_process(variant: Variant, directory: Path, redis_port: int) -> Iterator[tuple[InProcess, InProcess]]:
    """`rls` in this process: with its own keys in memory, with those of the reference in Redis."""
    redis = RedisStore(f"redis://127.0.0.1:{redis_port}", timeout_seconds=10)
    with asyncio.Runner() as runner:
        try:
            yield (
                InProcess(variant, MemoryStore(), KeyFormat.V1, directory, runner),
                InProcess(variant, redis, KeyFormat.COMPAT, directory, runner),
            )
        finally:
            runner.run(redis.aclose())


@contextmanager
def pair_of(variant: Variant, folder: Path, redis_port: int, **served: Asked) -> Iterator[Pair]:
    """The reference, `rls` in this process, and what is *served*."""
    with (
        reference_server(folder / "reference", redis_port, variant.reference) as reference,
        in_process(variant, reference.directory, redis_port) as (exact, compatible),
    ):
        yield Pair(variant, reference, exact, {"in process": compatible, **served})


def compare(pair: Pair, drawn: SearchStrategy[Case], examples: int, progress: Progress) -> None:
    """Give *examples* cases to all of *pair*; the first that is answered differently is shrunk and printed."""

    @settings(max_examples=examples, database=None, phases=PHASES, suppress_health_check=QUIET, print_blob=False)
    @given(drawn)
    def same(case: Case) -> None:
        try:
            difference = pair.differ(case)
        except TooSlow:
            reject()
        counted = {"configurations": len(case.documents), "requests": len(case.steps)}
        progress({**counted, DIFFERENCES: bool(difference)})
        if difference:
            scenario = pair.scenario(case, "(what is promised)").dump()
            pytest.fail(f"{difference}\n--- as a scenario, with the reference's answers:\n{scenario}", pytrace=False)

    same()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_same_answers(variant: Variant, tmp_path: Path, redis_port: int, examples: int, progress: Progress) -> None:
    """Random rules and requests are answered as the reference answers them."""
    with pair_of(variant, tmp_path, redis_port) as pair:
        compare(pair, cases(), examples, progress)


@pytest.mark.parametrize(
    ("variant", "transport"), SERVED, ids=lambda part: part if isinstance(part, str) else part.name
)
def test_same_answers_served(
    variant: Variant, transport: str, tmp_path: Path, redis_port: int, examples: int, progress: Progress
) -> None:
    """So they are by `rls serve` with Redis, over gRPC."""
    with ExitStack() as stack:
        environment = {**variant.environment, "RLS_TRANSPORT": transport}
        served = stack.enter_context(rls_server(tmp_path / "rls", redis_port, environment))
        pair = stack.enter_context(pair_of(variant, tmp_path, redis_port, served=served))
        compare(pair, many_cases(), 1 + examples // CASES, progress)


def test_count_together(tmp_path: Path, redis_port: int, examples: int, progress: Progress) -> None:
    """`rls serve` and the reference on one Redis, asked in turn, answer as the reference does that is asked alone."""
    environment = {"RLS_KEY_FORMAT": "compat", "RLS_KEY_PREFIX": "together:"}
    alone = Variant("alone", over_limit_cache=True)
    with ExitStack() as stack:
        ours = stack.enter_context(rls_server(tmp_path / "rls", redis_port, environment))
        theirs = stack.enter_context(
            reference_server(tmp_path / "other", redis_port, {"CACHE_KEY_PREFIX": "together:"})
        )
        pair = stack.enter_context(pair_of(alone, tmp_path, redis_port, together=InTurn(ours, theirs)))
        compare(pair, many_cases(), 1 + examples // CASES, progress)


@pytest.mark.parametrize("stop", ["false", "true"])
def test_a_raised_limit(stop: str, tmp_path: Path, redis_port: int) -> None:
    """The reference counts what it refuses, too; its local cache would go on refusing whatever the limit is."""
    scenario = Scenario.read(RAISED)
    settings = {"STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT": stop, "CACHE_KEY_PREFIX": f"raised-{stop}:"}
    with reference_server(tmp_path / "reference", redis_port, settings) as reference:
        for step in ({"load": scenario.rules}, *scenario.steps):
            if rules := step.get("load"):
                reference.load({"0.yaml": rules.replace("unit: hour", "unit: year")})
            for _ in range(step.get("times", 1) if "ask" in step else 0):
                answer = Response.FromString(reference.ask(message_of(step)))
                assert Response.Code.Name(answer.overall_code) == step["answer"], step
