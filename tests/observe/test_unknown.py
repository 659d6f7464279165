"""Names that no rule knows, through the real limiter."""

from rls.core.model import Unit
from rls.core.plan import CountingOptions
from rls.core.pseudonyms import Pseudonyms
from rls.core.rules import RuleSet
from rls.engine.limiter import Limiter
from rls.observe.top import TopTalkers
from rls.observe.unknown import SHOWN
from rls.stores.memory import MemoryStore
from tests.clock import Clock
from tests.tries import Step, descriptor, request, rule, rule_set

RULES = rule_set(
    {
        (Step("company"),): rule("company", 100, Unit.YEAR, name="per company"),
        (Step("plan"),): rule("plan", 100, Unit.YEAR, replaces=["per company"]),
        (Step("free"),): rule("free", None),
    }
)


class Asked:
    """A limiter, and what it does not know."""

    def __init__(self, rules: RuleSet = RULES, counting: CountingOptions | None = None) -> None:
        self.clock = Clock(1_000_000.0)
        self.top = TopTalkers()
        store = MemoryStore(clock=self.clock)
        self._limiter = Limiter(store, counting=counting, observers=[self.top], clock=self.clock)
        self._limiter.load(rules)

    async def check(self, *entries: tuple[str, str], domain: str = "domain", times: int = 1) -> None:
        for _ in range(times):
            await self._limiter.check(request(*(descriptor(entry) for entry in entries), domain=domain))

    def domains(self) -> list[tuple[str, int]]:
        return [(found.name[0], found.times) for found in self.top.unknown.domains()]

    def descriptors(self) -> list[tuple[tuple[str, ...], int]]:
        return [(found.name, found.times) for found in self.top.unknown.descriptors()]


async def test_it_names_domains_without_rules_and_when_they_were_asked_for() -> None:
    asked = Asked()
    await asked.check(("company", "acme"), domain="mehs", times=3)
    asked.clock.now += 60
    await asked.check(("company", "acme"), domain="mehs")
    await asked.check(("company", "acme"), domain="mesh2")
    assert asked.domains() == [("mehs", 4), ("mesh2", 1)]
    assert asked.top.unknown.domains()[0].seen[:2] == (1_000_000.0, 1_000_060.0)


async def test_a_request_of_many_descriptors_asks_for_its_domain_once() -> None:
    asked = Asked()
    await asked.check(*((f"key-{number}", "x") for number in range(10)), domain="mehs")
    assert asked.domains() == [("mehs", 1)]


async def test_it_names_descriptors_by_their_keys() -> None:
    asked = Asked()
    await asked.check(("companies", "acme"), ("company", "acme"), ("free", "x"))
    await asked.check(("companies", "umbrella"))
    assert asked.descriptors() == [(("domain", "companies"), 2)]
    assert asked.top.unknown.descriptors()[0].seen.entries[0].value == "umbrella"


async def test_a_descriptor_whose_rule_another_rule_replaces_is_known() -> None:
    asked = Asked()
    await asked.check(("company", "acme"), ("plan", "gold"))
    assert asked.descriptors() == []


async def test_a_replaced_rule_of_one_value_is_known_where_values_are_hashed() -> None:
    acme = rule("company_acme", 100, Unit.YEAR, name="acme")
    rules = rule_set({(Step("company", "acme"),): acme, (Step("plan"),): rule("plan", 9, replaces=["acme"])})
    asked = Asked(rules, CountingOptions(hide=Pseudonyms(b"a secret of 16 b").hide))
    await asked.check(("company", "acme"), ("plan", "gold"))
    assert asked.descriptors() == []


async def test_clients_cannot_fill_it() -> None:
    asked = Asked()
    await asked.check(("company", "acme"), domain="often", times=200)
    for number in range(3_000):
        asked.clock.now += 0.01
        await asked.check((f"key-{number}", "x" * 1_000), domain="domain")
        await asked.check(("company", "acme"), domain=f"domain-{number}-" + "x" * 1_000)
    unknown = asked.top.unknown
    assert max(len(asked.domains()), len(asked.descriptors())) <= SHOWN
    assert asked.domains()[0][0] == "often"
    assert 0 <= 200 - asked.domains()[0][1] <= unknown.errors[0] <= 2 * 3_200 / 100
    assert all(len(name) < 200 for name, _ in asked.domains())
    assert all(len(entry.value) < 200 for found in unknown.descriptors() for entry in found.seen.entries)
