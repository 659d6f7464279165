"""Which calls are recorded. What their spans say is in `tests/integration/test_traces.py`."""

from collections.abc import Sequence

from rls.core.model import Unit
from rls.engine.events import RequestContext
from rls.engine.limiter import Limiter
from rls.observe.otel import TraceVariables
from rls.observe.sampling import Sampler
from rls.observe.spans import Span
from rls.observe.traces import Traces
from rls.stores.base import StoreBatch
from rls.stores.memory import MemoryStore
from tests.tries import Step, descriptor, request, rule, rule_set

RULES = rule_set({(Step("company"),): rule("company", 100, Unit.YEAR)})


class Sink:
    def __init__(self, *, is_full: bool = False) -> None:
        self.is_full = is_full
        self.spans: list[Span] = []
        self.dropped = 0

    def add(self, spans: Sequence[Span]) -> None:
        self.spans += spans

    def drop(self) -> None:
        self.dropped += 1


class Calls:
    """Calls without a caller's trace, whose hits went out in several batches: as those of a cluster's nodes."""

    def __init__(self, sampler: Sampler, sink: Sink) -> None:
        self._traces = Traces(sink, TraceVariables("otlp", sampler))
        self._limiter = Limiter(MemoryStore(), observers=[self._traces])
        self._limiter.load(RULES)

    async def check(self, batches: int) -> None:
        context = RequestContext()
        context.began = 1.0
        for _ in range(batches):
            self._traces.batch_done(StoreBatch("node", 1.0, 0.1, (), (), [context]))
        await self._limiter.run(self._limiter.prepare(request(descriptor(("company", "acme")))), context)


async def test_a_call_is_sampled_once_however_many_batches_carry_it() -> None:
    sink = Sink()
    calls = Calls(Sampler(by_parent=True, share=0.1), sink)
    for _ in range(1_000):
        await calls.check(batches=5)
    recorded = {span[2] for span in sink.spans}
    assert 40 < len(recorded) < 200, "a tenth; five draws for each call would make it four tenths"


async def test_a_call_without_room_is_dropped_once() -> None:
    sink = Sink(is_full=True)
    await Calls(Sampler(by_parent=True, share=1.0), sink).check(batches=5)
    assert (sink.dropped, sink.spans) == (1, [])


async def test_what_would_not_be_recorded_is_not_dropped() -> None:
    sink = Sink(is_full=True)
    await Calls(Sampler(by_parent=True, share=1e-12), sink).check(batches=5)
    assert sink.dropped == 0
