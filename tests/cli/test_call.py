import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from typer.testing import CliRunner

from examples.mesh.processes import free_port
from rls.api.service import SHOULD_RATE_LIMIT
from rls.cli import app
from rls.proto import base_pb2, rls_pb2
from tests.certs import Authority
from tests.rls_process import RULES, RlsProcess
from tests.terminal import HOSTILE, commands, harm

HOSTILE_FIELDS = ("domain", "rule", "name", "place", "descriptor", "on_backend_error")
MORE = (
    RULES
    + """\
  - key: path
    rate_limit: {unit: day, unit_multiplier: 3, requests_per_unit: 50, name: per path}
  - key: internal
    rate_limit: {unlimited: true}
  - key: company_id
    value: replacing
    rate_limit: {unit: day, requests_per_unit: 50, name: replacing, replaces: [{name: per path}]}
"""
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RlsProcess(tmp_path_factory.mktemp("rls"), "--problem-json", "--ietf-headers", rules=MORE) as process:
        yield process


@pytest.fixture
def call(server, request):
    """Calls the server, as a company of the test's own."""

    def one(*arguments: str, address: str = server.addresses["grpc"], domain: str = "mesh"):
        company = f"company_id={request.node.name}"
        words = [company if word == "COMPANY" else word for word in arguments]
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["call", address, "--domain", domain, *words])

    return one


def test_the_exit_code_tells_ok_from_over_limit(call) -> None:
    """It counts, as a call of Envoy's does: the limit is 2."""
    results = [call("COMPANY") for _ in range(3)]
    assert [result.exit_code for result in results] == [0, 0, 1]
    assert results[0].stdout.startswith("OK in ")
    assert "2/year" in results[0].stdout
    assert results[2].stdout.startswith("OVER_LIMIT in ")
    assert "limited by rule mesh company_id at " in results[2].stdout
    assert "Retry-After: " in results[2].stdout
    assert '"status": 429' in results[2].stdout


def test_a_look_does_not_count(call) -> None:
    assert [call("--hits", "0", "COMPANY").exit_code for _ in range(5)] == [0] * 5


def test_every_descriptor_has_its_line(call) -> None:
    """Also those that are unlimited, or that no rule matches."""
    result = call("path=/a", "--descriptor", "internal=yes", "--descriptor", "a=b,c=d=e")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[1] == "descriptor status limit remaining reset"
    assert lines[2].startswith("path=/a OK 50/3 days 49 ")
    assert lines[3:5] == ["internal=yes OK unlimited - -", "a=b,c=d=e OK no limit - -"]


def test_many_calls_are_summed_up(call) -> None:
    result = call("--count", "5", "COMPANY")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "5 checks: 2 OK, 3 OVER_LIMIT"


def test_answers_as_json(call) -> None:
    result = call("--json", "--count", "3", "COMPANY")
    assert [json.loads(line)["overallCode"] for line in result.stdout.splitlines()] == ["OK", "OK", "OVER_LIMIT"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["COMPANY"], 0),
        (["COMPANY", "--hits", "3"], 1),
        (["path=/a", "--descriptor", "company_id=other"], 0),
        (["internal=yes"], 4),
        (["a=b"], 4),
        (["path=/a", "--descriptor", "a=b"], 4),
        (["a=b", "--descriptor", "company_id=refused", "--hits", "3"], 4),
        (["COMPANY", "--domain", "other"], 4),
        (["company_id=replacing", "--descriptor", "path=/a"], 4),
    ],
    ids=str,
)
def test_a_limit_is_expected_of_every_descriptor(call, arguments: list[str], code: int) -> None:
    """Without --expect-limit the exit code tells OK from OVER_LIMIT, and nothing else."""
    result = call("--expect-limit", *arguments)
    assert result.exit_code == code
    assert ("rls: no limit for " in result.stderr) is (code == 4)
    assert result.stdout.startswith(("OK in ", "OVER_LIMIT in "))
    assert call("--hits", "0", *(word for word in arguments if word not in {"--hits", "3"})).exit_code in {0, 1}


def test_why_there_is_no_limit(call) -> None:
    result = call("--expect-limit", "--json", "--count", "3", "a=b", "--descriptor", "internal=yes")
    assert result.stderr == (
        "rls: no limit for a=b: no rule of the domain mesh matches these keys in this order, or another rule of the request "
        "replaces the one that does\nrls: no limit for internal=yes: its rule is `unlimited`\n"
    )
    assert len([json.loads(line) for line in result.stdout.splitlines()]) == 3


@pytest.mark.parametrize("policy", ["local", "allow", "deny"])
def test_counters_are_expected_to_decide(tmp_path, policy: str) -> None:
    """A refusal by policy is none by a limit."""
    options = ["--backend", f"redis://127.0.0.1:{free_port()}", "--on-backend-error", policy]
    with RlsProcess(tmp_path, *options) as process:
        words = ["call", process.addresses["grpc"], "--domain", "mesh", "company_id=acme"]
        plain, expecting = CliRunner().invoke(app, words), CliRunner().invoke(app, [*words, "--expect-limit"])
    assert plain.exit_code == (1 if policy == "deny" else 0)
    assert expecting.exit_code == 4
    why = f"rls: the backend is unavailable: on_backend_error decided instead of the counters: {policy}\n"
    assert expecting.stderr == why


def test_an_unknown_domain_is_told_from_an_unmatched_descriptor(call) -> None:
    """Without --expect-limit too, and no hits are added."""
    unknown, unmatched = call("a=b", domain="elsewhere"), call("a=b")
    assert (unknown.exit_code, unmatched.exit_code) == (0, 0)
    assert (
        unknown.stderr
        == "rls: no limit for a=b: the server has no rules for the domain elsewhere: expected the `domain` of a rules file\n"
    )
    assert unmatched.stderr.startswith(
        "rls: no limit for a=b: no rule of the domain mesh matches these keys in this order, or "
    )


def test_a_value_with_a_comma(call) -> None:
    result = call("--descriptor", r"a=b\,c,d=e")
    assert " ".join(result.stdout.splitlines()[2].split()) == "a=b,c,d=e OK no limit - -"
    assert len(result.stdout.splitlines()) == 3


@pytest.mark.parametrize("host", ["", ":", "0.0.0.0:", "*:"])
def test_addresses_are_read_as_serve_reads_them(call, server, host: str) -> None:
    """A port alone and a wildcard mean this machine."""
    port = server.addresses["grpc"].rpartition(":")[2]
    assert call("internal=yes", address=f"{host}{port}").exit_code == 0


@pytest.mark.parametrize("address", ["localhost", "http://localhost:8081", "::1:8081", "localhost:x"])
def test_what_is_no_address(call, address: str) -> None:
    result = call("COMPANY", address=address)
    assert result.exit_code == 2
    assert f"ADDRESS is '{address}': expected " in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "no server listens there: expected the address of its --grpc, which is port 8081 by default"),
        ("unix:/none.sock", "no server listens there: expected the path of its --grpc, as unix:/path"),
        ("none.invalid:1", "host name not found: expected one that DNS knows, or an IP address"),
    ],
)
def test_no_server_is_told_from_over_limit(call, address: str, words: str) -> None:
    result = call("COMPANY", address=address)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == f"rls: no answer from {address}: UNAVAILABLE: {words}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "no descriptor: expected entries such as company_id=acme after the address"),
        (["company"], "'company' is not an entry: expected KEY=VALUE"),
        (["=x"], "'=x' is not an entry: expected KEY=VALUE"),
        (["a=b", "--timeout", "1sec"], "--timeout is '1sec': expected a duration such as 10ms, 5s or 1m30s"),
        (["a=b", "--timeout", "1"], "--timeout is '1': 1 has no unit, expected 1ms or 1s"),
        (["a=b", "--tls-key", "key.pem"], "--tls-cert and --tls-key need each other"),
        (["a=b", "--domain", ""], "--domain is missing"),
        (["a=b", "--tls-ca", "/none.pem"], "cannot read /none.pem: No such file or directory"),
    ],
)
def test_a_wrong_call(call, arguments: list[str], expected: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.split())


def test_a_server_on_an_ipv6_address(call, tmp_path) -> None:
    with RlsProcess(tmp_path, "--grpc", "[::1]:0") as process:
        address = process.addresses["grpc"]
        assert address.startswith("[::1]:")
        assert call("COMPANY", address=address).exit_code == 0


def test_mutual_tls(tmp_path) -> None:
    """With a certificate of the client's, and none of the system's authorities."""
    authority = Authority()
    for name, names in (("server", ["rls.mesh"]), ("client", ["spiffe://mesh/ns/istio-system/sa/gateway"])):
        for suffix, pem in zip(("crt", "key"), authority.issue(*names), strict=True):
            (tmp_path / f"{name}.{suffix}").write_bytes(pem)
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.pem)
    server = ["--tls-cert", f"{tmp_path}/server.crt", "--tls-key", f"{tmp_path}/server.key", "--tls-client-ca", str(ca)]
    client = ["--tls-cert", f"{tmp_path}/client.crt", "--tls-key", f"{tmp_path}/client.key"]
    with RlsProcess(tmp_path, *server, "--tls-client-san", "spiffe://mesh/ns/istio-system/sa/gateway") as process:
        words = ["call", process.addresses["grpc"], "--domain", "mesh", "company_id=acme", "--tls-ca", str(ca)]
        words += ["--tls-server-name", "rls.mesh"]
        assert CliRunner().invoke(app, [*words, *client]).exit_code == 0
        without = CliRunner().invoke(app, words)
        plain = CliRunner().invoke(app, words[:5])
    assert (without.exit_code, plain.exit_code) == (3, 3)
    closed = "UNAVAILABLE: the server closed the connection: it may require"
    assert without.stderr.endswith(f"{closed} a client certificate that it trusts (--tls-cert, --tls-key)\n")
    assert plain.stderr.endswith(f"{closed} TLS (--tls)\n")


def test_errors_of_tls_say_what_to_do(tmp_path) -> None:
    ours, other = Authority(), Authority()
    for suffix, pem in zip(("crt", "key"), ours.issue("rls.mesh"), strict=True):
        (tmp_path / f"server.{suffix}").write_bytes(pem)
    for name, pem in (("ours.crt", ours.pem), ("other.crt", other.pem), ("bad.crt", b"x")):
        (tmp_path / name).write_bytes(pem)
    options = ["--tls-cert", f"{tmp_path}/server.crt", "--tls-key", f"{tmp_path}/server.key"]
    cases = [
        ("other.crt", "rls.mesh", "the server's certificate is not trusted: check --tls-ca"),
        ("ours.crt", "other.mesh", "the server's certificate is for another name: check --tls-server-name"),
        ("bad.crt", "rls.mesh", "a TLS file cannot be used: check --tls-ca, --tls-cert and --tls-key"),
    ]
    with RlsProcess(tmp_path, *options) as secure, RlsProcess(tmp_path, name="plain") as plain:
        given = [(secure.addresses["grpc"], *case) for case in cases]
        no_tls = "the server does not speak TLS on this port: leave out --tls and its options"
        given.append((plain.addresses["grpc"], "ours.crt", "rls.mesh", no_tls))
        for address, ca, name, expected in given:
            words = [
                "call",
                address,
                "--domain",
                "mesh",
                "a=b",
                "--tls-ca",
                f"{tmp_path}/{ca}",
                "--tls-server-name",
                name,
            ]
            result = CliRunner().invoke(app, words)
            assert (result.exit_code, result.stderr) == (3, f"rls: no answer from {address}: UNAVAILABLE: {expected}\n")


class Silent(grpc.GenericRpcHandler):
    """Answers OK without statuses, as Limitador does."""

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(lambda _, __: b"\x08\x01")


def test_a_server_that_sends_no_statuses() -> None:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Silent()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        result = CliRunner().invoke(app, ["call", address, "--domain", "mesh", "a=b", "--expect-limit"])
    finally:
        server.stop(None).wait()
    assert result.exit_code == 4
    assert result.stdout.endswith("; the server sent no statuses\n")
    assert result.stderr == "rls: the server sent no statuses, so it is not known whether a limit applied\n"


class Hostile(grpc.GenericRpcHandler):
    """Answers with texts that attack whoever prints them."""

    def service(self, handler_call_details):
        assert handler_call_details.method == SHOULD_RATE_LIMIT
        return grpc.unary_unary_rpc_method_handler(self.answer, rls_pb2.RateLimitRequest.FromString)

    def answer(self, request: rls_pb2.RateLimitRequest, context: grpc.ServicerContext) -> bytes:
        if request.domain == "error":
            context.abort(grpc.StatusCode.UNAVAILABLE, HOSTILE)
        response = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OVER_LIMIT)
        response.statuses.add(code=rls_pb2.RateLimitResponse.OVER_LIMIT)
        for name in ("x-hostile", "::error::x", HOSTILE):
            response.response_headers_to_add.append(base_pb2.HeaderValue(key=name, value=HOSTILE))
        response.dynamic_metadata.update(dict.fromkeys(HOSTILE_FIELDS, HOSTILE))
        response.raw_body = HOSTILE.encode() + b"\xff\n ::set-output name=x::y\n"
        return response.SerializeToString()


@pytest.fixture
def hostile() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Hostile()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield address
    server.stop(None).wait()


@pytest.mark.parametrize(
    "arguments", [["--domain", "answer"], ["--domain", "answer", "--json"], ["--domain", "error"]], ids=" ".join
)
def test_nothing_of_an_answer_reaches_the_terminal_raw(hostile: str, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["call", hostile, *arguments, f"key={HOSTILE}"])
    assert result.exit_code == (3 if "error" in arguments else 1)
    assert "x1b" in result.output or "u001b" in result.output
    assert not harm(result.output)
    assert commands(result.output) == []


def test_json_holds_what_was_answered(hostile: str) -> None:
    result = CliRunner().invoke(app, ["call", hostile, "--domain", "answer", "--json", "a=b"])
    assert json.loads(result.stdout)["dynamicMetadata"]["rule"] == HOSTILE


def test_a_wrong_call_is_not_shown_raw(call) -> None:
    assert not harm(call(HOSTILE.replace("=", "")).output) - set("╭─╮│╰╯")


def test_bytes_that_are_not_utf_8_are_asked_for_and_shown(call) -> None:
    """They are another value than their escaped form."""
    answers = [call(f"company_id={value}") for value in ("latin\udce9", "latin\udce9", "latin\udce9", "latin\\xe9")]
    assert [answer.exit_code for answer in answers] == [0, 0, 1, 0]
    assert r"at descriptor company_id=latin\\xe9" in answers[2].stdout
    assert answers[2].stdout.splitlines()[2].startswith(r"company_id=latin\xe9 ")
    assert answers[3].stdout.splitlines()[2].startswith(r"company_id=latin\\xe9 ")
