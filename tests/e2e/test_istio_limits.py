"""Who is limited by what, with a gateway and a sidecar as the manifests in `istio/` make them."""

import base64
import hashlib
import hmac
import json
import time
from contextlib import closing

import pytest

from examples.mesh.processes import wait_for
from examples.tokens import Issuer
from tests.e2e.istio import RULES, IstioMesh, a_company, an_address
from tests.e2e.mesh import Mesh
from tests.mesh.running import HTTP


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, issuer, users):
    with closing(Mesh(tmp_path_factory.mktemp("istio"), issuer, users)) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def rls(mesh):
    return mesh.start_rls("--ietf-headers", rules=RULES)


@pytest.fixture(scope="module")
def istio(mesh, rls):
    return IstioMesh(mesh, [rls])


@pytest.fixture(scope="module", params=["1.27.0", "1.31.0"])
def each_istio(request, mesh, rls, istio):
    """As by each of the two files for sidecars."""
    return istio if request.param == "1.31.0" else IstioMesh(mesh, [rls], version=request.param)


def test_companies_are_counted_apart(each_istio):
    first, second = each_istio.token(a_company()), each_istio.token(a_company())

    assert each_istio.statuses(7, first) == [200] * 5 + [429] * 2
    assert each_istio.statuses(6, second) == [200] * 5 + [429]


def test_without_a_token_the_address_is_counted(each_istio):
    source = an_address()

    assert each_istio.statuses(5, source=source) == [200] * 3 + [429] * 2
    assert each_istio.get(source=an_address()).status == 200


def test_a_company_is_not_charged_for_its_address(istio):
    source = an_address()
    assert istio.statuses(4, source=source)[-1] == 429

    assert istio.statuses(5, istio.token(a_company()), source=source) == [200] * 5


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def claims(company):
    return {
        "iss": "https://tokens.example.com",
        "aud": "users",
        "exp": time.time() + 600,
        "sub": "a",
        "company_id": company,
    }


def signed_by_another(issuer, company):
    return Issuer().token(claims(company))


def with_another_signature(issuer, company):
    head, body, _ = issuer.token(claims(company)).split(".")
    other = issuer.token(claims("another")).rpartition(".")[2]
    return f"{head}.{body}.{other}"


def of_another_company(issuer, company):
    """The body is changed, the signature is not."""
    head, _, signature = issuer.token(claims("another")).split(".")
    return f"{head}.{part(claims(company))}.{signature}"


def expired(issuer, company):
    return issuer.token({**claims(company), "exp": time.time() - 600})


def not_yet_valid(issuer, company):
    return issuer.token({**claims(company), "nbf": time.time() + 600})


def wrong_issuer(issuer, company):
    return issuer.token({**claims(company), "iss": "https://elsewhere.example.com"})


def wrong_audience(issuer, company):
    return issuer.token({**claims(company), "aud": "others"})


def alg_none(issuer, company):
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims(company))}."


def signed_with_the_public_key(issuer, company):
    """The key that everybody has, taken for a secret."""
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': issuer.key_id})}.{part(claims(company))}"
    digest = hmac.new(issuer.jwks().encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def garbage(issuer, company):
    return f"{company}.is.garbage"


def no_token_at_all(issuer, company):
    return company


BAD = [
    *(signed_by_another, with_another_signature, of_another_company, expired, not_yet_valid, wrong_issuer),
    *(wrong_audience, alg_none, signed_with_the_public_key, garbage, no_token_at_all),
]


@pytest.mark.parametrize("make", BAD, ids=[make.__name__ for make in BAD])
def test_an_invalid_token_is_counted_by_its_address_and_never_as_a_company(istio, make):
    company, source = a_company(), an_address()
    token = make(istio.mesh.issuer, company)

    assert istio.statuses(4, token, source=source) == [200] * 3 + [429]

    # Nothing was taken from the company that it names, and it passes nobody who has used up his address.
    assert istio.get(source=source).status == 429
    assert istio.get(istio.token(company), source=source).headers["x-ratelimit-remaining"] == "4"
    logged = wait_for(lambda: logged_from(istio.sidecar, source, 6), "the access log has all six")
    assert [line["company_id"] for line in logged] == [None] * 5 + [company]


def logged_from(proxy, source, number):
    lines = [line for line in proxy.access_log() if line["address"] == source]
    return lines if len(lines) == number else []


def test_a_token_in_the_query_counts_as_well(istio):
    """jwt_authn takes `access_token` of the query, too."""
    token = istio.token(a_company())

    answer = istio.gateway.request(source=an_address(), path=f"/users?access_token={token}")

    assert answer.headers["x-ratelimit-limit"].startswith("5, ")


@pytest.mark.parametrize("company", [4711, True, ["acme"], {"id": "acme"}, ""], ids=str)
def test_a_company_that_is_no_text_is_counted_by_its_address(istio, company):
    token = istio.mesh.issuer.token({"company_id": company, "sub": "ada"})

    assert istio.statuses(4, token, source=an_address()) == [200] * 3 + [429]


def test_forged_addresses_choose_no_bucket(istio):
    source = an_address()
    forged = [an_address() for _ in range(5)]

    found = [istio.get(source=source, x_forwarded_for=address).status for address in forged]
    found += [
        istio.get(source=source, x_forwarded_for=f"{forged[0]}, {forged[1]}", x_envoy_external_address=forged[2]).status
    ]

    assert found == [200] * 3 + [429] * 3


def test_gateway_and_sidecar_log_the_address_and_the_rule_that_refused(istio):
    company, source = a_company(), an_address()
    istio.statuses(6, istio.token(company), source=source)

    at_gateway = wait_for(lambda: logged_from(istio.gateway, source, 6), "the gateway has logged all")
    at_sidecar = wait_for(lambda: logged_from(istio.sidecar, source, 6), "the sidecar has logged all")

    assert [line["code"] for line in at_gateway] == [200] * 5 + [429]
    assert {line["forwarded_for"] for line in at_sidecar} == {source}
    *passed, refused = at_sidecar
    assert [(line["code"], line["flags"], line["rule"]) for line in passed] == [(200, "-", None)] * 5
    assert (refused["code"], refused["flags"], refused["details"]) == (429, "RL", "request_rate_limited")
    assert (refused["rule"], refused["rule_name"]) == ("company_id", "company")
    assert (refused["descriptor"], refused["company_id"]) == (f"company_id={company}", company)
    assert refused["seconds_until_reset"] > 0


def test_a_refusal_has_the_headers_of_its_limit(istio):
    token = istio.token(a_company())
    passed, *_, refused = [istio.get(token) for _ in range(6)]

    assert (
        passed.headers["x-ratelimit-limit"] == refused.headers["x-ratelimit-limit"] == '5, 5;w=31536000;name="company"'
    )
    assert (passed.headers["x-ratelimit-remaining"], refused.headers["x-ratelimit-remaining"]) == ("4", "0")
    assert refused.status == 429
    assert refused.headers["x-envoy-ratelimited"] == "true"
    assert refused.headers["retry-after"] == refused.headers["x-ratelimit-reset"]


def test_each_request_is_counted_once_and_statistics_are_shown(istio, rls):
    before, counted = istio.sidecar.limits(), rls.metric("rls_requests_total")

    istio.statuses(7, istio.token(a_company()))

    after = istio.sidecar.limits()
    assert after["ok"] - before["ok"] == 5
    assert after["over_limit"] - before["over_limit"] == 2
    assert rls.metric("rls_requests_total") - counted == 7


def test_plain_http_is_redirected(istio):
    answer = istio.gateway.request(port=HTTP)

    assert (answer.status, answer.headers["location"]) == (301, "https://users.example.com/users")


def test_behind_a_load_balancer_clients_have_their_own_addresses(mesh, rls):
    istio = IstioMesh(mesh, [rls], ["behind-load-balancer"], trusted_proxies=1)
    balancer, client, forged = an_address(), an_address(), an_address()

    found = [istio.get(source=balancer, x_forwarded_for=f"{forged}, {client}").status for _ in range(4)]

    assert found == [200] * 3 + [429]
    assert istio.get(source=balancer, x_forwarded_for=f"{client}, {an_address()}").status == 200
    wait_for(lambda: logged_from(istio.gateway, client, 4), "the gateway's log has the client")
    wait_for(lambda: logged_from(istio.sidecar, client, 4), "the sidecar's log has the client")


@pytest.mark.parametrize("version", ["1.24.0", "1.27.0", "1.31.0"])
def test_at_the_gateway_each_request_is_counted_there_and_only_there(mesh, rls, version):
    istio = IstioMesh(mesh, [rls], ["at-gateway"], version=version)
    token, source = istio.token(a_company()), an_address()

    assert istio.statuses(6, token) == [200] * 5 + [429]
    assert istio.statuses(4, garbage(None, "acme"), source=source) == [200] * 3 + [429]
    assert istio.get(source=source).status == 429
    assert istio.sidecar.limits() == {"ok": 0, "over_limit": 0, "error": 0, "failure_mode_allowed": 0}
