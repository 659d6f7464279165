"""What is remembered of a descriptor is shared by all requests that have it."""

from hypothesis import given
from hypothesis import strategies as st

from rls.api.service import Service
from rls.engine.limiter import Limiter
from rls.engine.prepared import PreparedRequest
from rls.proto import rls_pb2
from rls.sources.load import load
from rls.stores.memory import MemoryStore

RULES = """\
domain: d
descriptors:
  - {key: second, rate_limit: {name: s, unit: second, requests_per_unit: 2}}
  - {key: minute, rate_limit: {name: m, unit: minute, requests_per_unit: 0, replaces: [{name: s}]}}
  - {key: hour, rate_limit: {unit: hour, requests_per_unit: 9}}
  - {key: free, rate_limit: {unlimited: true}}
"""
DESCRIPTORS = st.tuples(st.sampled_from(["second", "minute", "hour", "free", "unknown"]), st.sampled_from("ab"))
ASKED = st.tuples(st.lists(DESCRIPTORS, min_size=1, max_size=4), st.sampled_from([0, 0, 3]), st.integers(-70, 70))


@given(st.lists(ASKED, min_size=1, max_size=12))
def test_hits_are_those_of_a_request_that_is_planned_alone(tmp_path_factory, asked):
    """Whatever came before, and wherever the clock goes."""
    path = tmp_path_factory.getbasetemp() / "shared-checks.yaml"
    path.write_text(RULES)
    limiter = Limiter(MemoryStore())
    limiter.load(load([path]).rules)
    service = Service(limiter)
    now = 1_700_000_000
    for descriptors, addend, seconds in asked:
        now += seconds
        request = rls_pb2.RateLimitRequest(domain="d", hits_addend=addend)
        for key, value in descriptors:
            request.descriptors.add().entries.add(key=key, value=value)
        found = service.look_up(request.SerializeToString())
        assert isinstance(found, tuple)
        prepared, begun = found
        alone = PreparedRequest(prepared.plan)
        assert list(prepared.at(now)) == list(alone.at(now))
        assert (prepared.since, prepared.until) == (alone.since, alone.until)
        assert len(prepared.updates) == len(prepared.plan.counted)
        assert [bool(begins) for begins in begun] == [check.limit is not None for check in prepared.plan.checks]
