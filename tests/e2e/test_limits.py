"""What clients, the service behind and the access log see of limits, through a real Envoy."""

import http.client
import itertools
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from examples.mesh.envoy import Envoy
from examples.mesh.http import ask, ask_on
from examples.mesh.processes import wait_for
from examples.mesh.servers import Rls
from examples.tokens import Issuer
from tests.e2e.mesh import Mesh, statuses

YEAR = 31_536_000
names = (f"company-{n}" for n in itertools.count(1))
addresses = (f"203.0.113.{n}" for n in range(1, 255))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, issuer, users) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("limits"), issuer, users)
    try:
        yield mesh
    finally:
        mesh.close()


@pytest.fixture(scope="module")
def rls(mesh: Mesh) -> Rls:
    return mesh.start_rls("--ietf-headers", "--problem-json", "--limited-by-header", "x-refused-by")


@pytest.fixture(scope="module")
def envoy(mesh: Mesh, rls: Rls) -> Envoy:
    return mesh.start_envoy(rls)


def get_all(envoy, times, headers):
    return [envoy.get(headers=headers) for _ in range(times)]


def test_the_limit_passes_and_no_more(mesh, envoy):
    answers = get_all(envoy, 7, mesh.bearer(next(names)))

    assert statuses(answers) == [200] * 5 + [429] * 2
    assert answers[0].json()["users"][0]["name"] == "Ada"


def test_the_limit_passes_exactly_under_concurrent_load(mesh, envoy):
    headers = mesh.bearer(next(names))

    def ask_ten_times(_):
        with closing(http.client.HTTPConnection("127.0.0.1", envoy.port, timeout=20)) as connection:
            return [ask_on(connection, "/users", headers).status for _ in range(10)]

    with ThreadPoolExecutor(8) as threads:
        found = list(itertools.chain.from_iterable(threads.map(ask_ten_times, range(8))))

    assert (found.count(200), found.count(429)) == (5, 75)


def test_each_company_has_its_own_limit(mesh, envoy):
    first, second = mesh.bearer(next(names)), mesh.bearer(next(names))
    assert statuses(get_all(envoy, 6, first))[-1] == 429

    assert envoy.get(headers=second).status == 200


def test_without_a_company_the_address_is_limited(envoy):
    headers = {"x-forwarded-for": next(addresses)}

    assert statuses(get_all(envoy, 4, headers)) == [200] * 3 + [429]
    assert envoy.get(headers={"x-forwarded-for": next(addresses)}).status == 200


def test_a_company_is_not_charged_for_its_address(mesh, envoy):
    address = {"x-forwarded-for": next(addresses)}
    assert statuses(get_all(envoy, 4, address))[-1] == 429

    assert statuses(get_all(envoy, 5, mesh.bearer(next(names)) | address)) == [200] * 5


def test_a_company_that_is_no_string_is_limited_by_its_address(mesh, envoy):
    headers = mesh.bearer(4711) | {"x-forwarded-for": next(addresses)}

    assert statuses(get_all(envoy, 4, headers)) == [200] * 3 + [429]


@pytest.mark.parametrize(
    ("claims", "lifetime", "status"),
    [({}, -3600, 401), ({"iss": "https://elsewhere.example.com"}, 3600, 401), ({"aud": "others"}, 3600, 403)],
    ids=["expired", "unknown issuer", "wrong audience"],
)
def test_a_token_that_envoy_refuses_is_never_asked_about(mesh, envoy, claims, lifetime, status):
    before = envoy.limits()
    token = mesh.issuer.token({"company_id": next(names), **claims}, lifetime=lifetime)

    assert envoy.get(headers={"authorization": f"Bearer {token}"}).status == status
    assert envoy.limits() == before


def test_a_forged_token_is_refused(envoy):
    token = Issuer().token({"company_id": next(names)})

    assert envoy.get(headers={"authorization": f"Bearer {token}"}).status == 401


def test_every_answer_tells_the_limit_in_envoys_headers_and_in_the_ietf_fields(mesh, envoy):
    answer = envoy.get(headers=mesh.bearer(next(names)))

    assert answer.status == 200
    reset = answer.headers["x-ratelimit-reset"]
    assert 0 < int(reset) <= YEAR
    assert answer.headers["x-ratelimit-limit"] == f'5, 5;w={YEAR};name="company"'
    assert answer.headers["x-ratelimit-remaining"] == "4"
    assert answer.headers["ratelimit-policy"] == f'"company";q=5;w={YEAR}'
    assert answer.headers["ratelimit"] == f'"company";r=4;t={reset}'
    assert "retry-after" not in answer.headers
    assert "x-refused-by" not in answer.headers


def test_a_refusal_says_which_rule_refused_and_when_to_come_again(mesh, envoy):
    refusal = get_all(envoy, 6, mesh.bearer(next(names)))[-1]

    assert refusal.status == 429
    assert refusal.headers["x-envoy-ratelimited"] == "true"
    assert refusal.headers["x-refused-by"] == "company_id"
    assert refusal.headers["x-ratelimit-remaining"] == "0"
    assert refusal.headers["retry-after"] == refusal.headers["x-ratelimit-reset"]
    assert refusal.headers["ratelimit"] == f'"company";r=0;t={refusal.headers["retry-after"]}'


def test_a_refusal_is_a_problem_in_json(mesh, envoy):
    refusal = get_all(envoy, 6, mesh.bearer(next(names)))[-1]

    assert refusal.headers["content-type"] == "application/problem+json"
    problem = refusal.json()
    assert problem["status"] == 429
    assert problem["violated-policies"] == ["company"]
    assert refusal.headers["retry-after"] in problem["detail"]


def test_the_access_log_names_the_rule_that_refused(mesh, envoy):
    company = next(names)
    answers = get_all(envoy, 6, mesh.bearer(company))

    def logged():
        lines = [line for line in envoy.access_log() if line["company_id"] == company]
        return lines if len(lines) == 6 else []

    *passed, refused = wait_for(logged, "the access log holds all requests")
    assert [(line["code"], line["rule"], line["flags"]) for line in passed] == [(200, None, "-")] * 5
    assert refused["code"] == 429
    assert refused["flags"] == "RL"
    assert refused["details"] == "request_rate_limited"
    assert (refused["rule"], refused["rule_name"]) == ("company_id", "company")
    assert re.fullmatch(r".+\.yaml:\d+", refused["rule_place"])
    assert refused["descriptor"] == f"company_id={company}"
    assert refused["seconds_until_reset"] == int(answers[-1].headers["x-ratelimit-reset"])


def test_the_service_behind_sees_nothing_of_limits(mesh, rls):
    seen = []

    class Recorder(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append({name.lower() for name in self.headers})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    def limited(_):
        pass

    def unlimited(config):
        config.manager["http_filters"].remove(config.http_filter("envoy.filters.http.ratelimit"))

    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for change in (limited, unlimited):
                envoy = mesh.start_envoy(rls, change=change, users_port=server.server_port)
                assert envoy.get(headers=mesh.bearer(next(names))).status == 204
        finally:
            server.shutdown()
            thread.join()

    limited_request, unlimited_request = seen
    assert limited_request == unlimited_request
    assert "authorization" not in limited_request


def test_rls_counts_what_envoy_was_told(mesh, rls, envoy):
    envoy_before, before = (
        envoy.limits(),
        [rls.metric("rls_requests_total", code=code) for code in ("OK", "OVER_LIMIT")],
    )
    get_all(envoy, 8, mesh.bearer(next(names)))

    after = envoy.limits()
    assert after["ok"] - envoy_before["ok"] == rls.metric("rls_requests_total", code="OK") - before[0] == 5
    assert (
        after["over_limit"] - envoy_before["over_limit"]
        == rls.metric("rls_requests_total", code="OVER_LIMIT") - before[1]
        == 3
    )


def test_a_body_on_the_way_to_a_refusal_is_no_matter(mesh, envoy):
    headers = mesh.bearer(next(names)) | {"content-type": "application/json"}
    body = json.dumps({"name": "Alan", "email": "alan@example.com", "about": "x" * 20_000}).encode()

    found = [ask(envoy.port, "/users", headers, method="POST", body=body).status for _ in range(6)]

    assert found == [201] * 5 + [429]
