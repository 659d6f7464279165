"""`rls` as a library: what docs/embedding.md promises."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from examples.mesh.processes import free_port
from rls import library
from rls.library import (
    BackendError,
    Code,
    ConfigError,
    RateLimiter,
    SettingsError,
    StoreBatch,
    StoreOptions,
    load_rules,
    open_store,
)
from tests.recorded import Events
from tests.redis_server import RedisServer, redis_binary, running

PAGE = (Path(__file__).parents[1] / "docs" / "embedding.md").read_text()
RULES = """
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: hour, requests_per_unit: 2, name: per company}
    descriptors:
      - key: user
        rate_limit: {unit: hour, requests_per_unit: 1}
  - key: strict
    rate_limit: {unit: hour, requests_per_unit: 2}
    on_backend_error: error
"""


@pytest.fixture
def rules(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    return load_rules(file)


async def test_checks_are_counted_and_decided(rules):
    events = Events()
    async with RateLimiter(rules, open_store("memory://"), observers=[events]) as limiter:
        codes = [(await limiter.check("mesh", {"company_id": "acme"})).code for _ in range(3)]
        assert codes == [Code.OK, Code.OK, Code.OVER_LIMIT]
        decision = await limiter.check("mesh", {"company_id": "acme"}, {"company_id": "other", "user": "me"}, hits=1)
        assert decision.limited_by is not None
        assert decision.limited_by is decision.statuses[0]
        assert decision.limited_by.check.policy_name == "per company"
        assert (await limiter.check("elsewhere", {"company_id": "acme"})).code is Code.OK
    assert [event.decision.code for event in events] == [*codes, Code.OVER_LIMIT, Code.OK]


async def test_new_rules_keep_counters(rules, tmp_path):
    async with RateLimiter(rules, open_store("memory://")) as limiter:
        await limiter.check("mesh", {"company_id": "acme"}, hits=2)
        file = tmp_path / "more.yaml"
        file.write_text(RULES.replace("requests_per_unit: 2, name", "requests_per_unit: 3, name"))
        limiter.load(load_rules(file))
        codes = [(await limiter.check("mesh", {"company_id": "acme"})).code for _ in range(2)]
        assert codes == [Code.OK, Code.OVER_LIMIT]


async def test_programs_share_counters_in_redis(rules, tmp_path):
    batches: list[StoreBatch] = []
    options = StoreOptions(timeout_seconds=10.0, key_prefix="mine:", on_batch=batches.append)
    with running(RedisServer(tmp_path, redis_binary())) as server:
        async with (
            RateLimiter(rules, open_store(server.url, options), key_prefix="mine:") as one,
            RateLimiter(rules, open_store(server.url, options), key_prefix="mine:") as other,
        ):
            asked = [await limiter.check("mesh", {"company_id": "acme"}) for limiter in (one, other, one)]
    assert [decision.code for decision in asked] == [Code.OK, Code.OK, Code.OVER_LIMIT]
    assert {update.key.partition(b":")[0] for batch in batches for update in batch.updates} == {b"mine"}


async def test_what_decides_while_the_store_fails(rules):
    store = open_store(f"redis://127.0.0.1:{free_port()}", StoreOptions(timeout_seconds=0.05))
    async with RateLimiter(rules, store, on_backend_error="deny") as limiter:
        assert (await limiter.check("mesh", {"company_id": "acme"})).code is Code.OVER_LIMIT
        with pytest.raises(BackendError):
            await limiter.check("mesh", {"strict": "acme"})


def test_rules_that_are_wrong_are_named_with_their_places(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(RULES.replace("unit: hour", "unit: hours", 1))
    with pytest.raises(ConfigError) as caught:
        load_rules(file)
    (problem,) = caught.value.diagnostics
    assert (problem.place.line, str(problem).startswith(f"{file}:5:")) == (5, True)
    with pytest.raises(SettingsError, match="no such file or directory"):
        load_rules(tmp_path / "absent.yaml")


def test_the_page_names_all_that_is_public():
    named = set(re.findall(r"`(\w+)[`(]", PAGE))
    assert set(library.__all__) <= named


def test_the_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (yaml,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "rules.yaml").write_text(yaml)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(example, "example", "exec"), names)
    asyncio.run(names["main"]())  # type: ignore[operator]  # the example defines it
    assert capsys.readouterr().out == printed
