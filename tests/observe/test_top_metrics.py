from rls.core.model import Unit
from rls.engine.limiter import Limiter
from rls.observe.metrics import Metrics
from rls.observe.top import TopTalkers
from rls.observe.top_metrics import RULES, register_top_metrics
from rls.stores.memory import MemoryStore
from tests.tries import Step, descriptor, request, rule, rule_set


async def test_a_metric_tells_that_one_client_hammers_without_naming_it() -> None:
    rules = rule_set({(Step(f"key-{n}"),): rule(f"key-{n}", 0, Unit.YEAR) for n in range(RULES + 20)})
    top, metrics = TopTalkers(), Metrics()
    register_top_metrics(metrics, top)
    limiter = Limiter(MemoryStore(), observers=[top])
    limiter.load(rules)
    for n in range(RULES + 20):
        for value in ("acme", "acme", "acme", f"umbrella-{n}"):
            await limiter.check(request(descriptor((f"key-{n}", value))))
    page = b"".join(metrics.page()[1]).decode()
    lines = [line for line in page.splitlines() if line.startswith("rls_top_refused_ratio{")]
    assert len(lines) == RULES
    assert {line.rpartition(" ")[2] for line in lines} == {"0.75"}
    assert "acme" not in page
    assert "umbrella" not in page
    assert f"rls_top_sketches {RULES + 20}" in page
