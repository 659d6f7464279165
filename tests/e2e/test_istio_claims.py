"""Which claims are companies with the component numeric-company, and that all others are counted by address."""

from contextlib import closing

import pytest

from examples.mesh.processes import wait_for
from examples.tokens import Issuer
from tests.e2e.istio import RULES, IstioMesh, an_address
from tests.e2e.mesh import Mesh
from tests.mesh.manifests import load

EXACT = 2**53 - 1
"""The greatest number up to which all whole ones are exact in JSON as Envoy reads it."""

LONG = "c" * 4000

COMPANIES = {
    "a text": ("acme-1", "acme-1"),
    "another text": ("acme-2", "acme-2"),
    "text beyond ASCII": ("Kühn & Söhne, 日本", "Kühn & Söhne, 日本"),
    "text with quotes": ('say "hi"', 'say "hi"'),
    "a text like a number": ("00815", "00815"),
    "a text like null": ("null", "null"),
    "a text that filters print for nothing": ("-", "-"),
    "a number": (4711, "4711"),
    "zero": (0, "0"),
    "negative": (-5, "-5"),
    "a fraction": (1.5, "1.5"),
    "seven digits": (1234567, "1234567"),
    "seven digits, the next one": (1234568, "1234568"),
    "thirteen digits": (1700000000123, "1700000000123"),
    "the greatest that is exact": (EXACT, str(EXACT)),
    "the least that is exact": (-EXACT, str(-EXACT)),
}
OTHERS = {
    "null": None,
    "empty": "",
    "true": True,
    "false": False,
    "a list": ["acme"],
    "another list": ["acme", 1],
    "an empty list": [],
    "an object": {"id": "acme"},
    "nested": {"company": {"id": 4711}},
    "an empty object": {},
    "too great to be exact": EXACT + 1,
    "too small to be exact": -EXACT - 1,
    "much too great": 1e300,
}


@pytest.fixture(
    scope="module", params=[("1.31.0", ()), ("1.24.0", ()), ("1.31.0", ("at-gateway",)), ("1.27.0", ("at-gateway",))]
)
def counting(request, tmp_path_factory, issuer, users):
    """A mesh of each shape of the filter, and the proxy that limits in it."""
    version, components = request.param
    with closing(Mesh(tmp_path_factory.mktemp("claims"), issuer, users)) as mesh:
        rls = mesh.start_rls(rules=RULES)
        names = [*components, "numeric-company", "fail-closed"]
        istio = IstioMesh(mesh, [rls], objects=load(*names), version=version)
        yield istio, istio.gateway if components else istio.sidecar


def ask(istio, company, source):
    token = istio.mesh.issuer.token({"company_id": company, "sub": "ada"})
    return istio.get(token, source=source)


@pytest.mark.parametrize(("claim", "text"), COMPANIES.values(), ids=COMPANIES)
def test_a_company_has_a_counter_of_its_own(counting, claim, text):
    """Each asks from many addresses, so that no address is what refuses."""
    istio, proxy = counting
    source = an_address()

    assert [ask(istio, claim, an_address()).status for _ in range(5)] == [200] * 5
    assert ask(istio, claim, source).status == 429

    def refused():
        return [line for line in proxy.access_log() if line["address"] == source]

    (line,) = wait_for(refused, "the refusal is logged")
    assert (line["rule_name"], line["descriptor"]) == ("company", f"company_id={text}")


@pytest.mark.parametrize("claim", OTHERS.values(), ids=OTHERS)
def test_what_is_no_company_is_counted_by_its_address(counting, claim):
    istio, _ = counting
    source = an_address()

    assert [ask(istio, claim, source).status for _ in range(4)] == [200] * 3 + [429]
    assert ask(istio, claim, an_address()).status == 200


def test_a_number_and_its_text_are_one_company(counting):
    istio, _ = counting

    found = [ask(istio, claim, an_address()).status for claim in (90210, "90210", 90210.0) * 2]

    assert found == [200] * 5 + [429]


def test_a_very_long_text_is_a_company(counting):
    """Each with an end of its own has a counter of its own."""
    istio, _ = counting

    assert [ask(istio, LONG + "1", an_address()).status for _ in range(6)] == [200] * 5 + [429]
    assert ask(istio, LONG + "2", an_address()).headers["x-ratelimit-remaining"] == "4"


def test_without_a_claim_or_a_valid_token_the_address_is_counted(counting):
    istio, _ = counting
    tokens = [
        istio.mesh.issuer.token({"sub": "ada"}),
        "",
        Issuer().token({"company_id": 4711, "sub": "ada"}),
        "garbage",
    ]

    for token in tokens:
        source = an_address()
        assert [istio.get(token, source=source).status for _ in range(4)] == [200] * 3 + [429]


def test_each_request_is_counted_once(counting):
    istio, proxy = counting
    before = proxy.limits()["ok"]

    ask(istio, 55, an_address())
    ask(istio, None, an_address())

    assert proxy.limits()["ok"] - before == 2
