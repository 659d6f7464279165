import re
from pathlib import Path

import pytest

from rls.errors import SettingsError
from rls.settings import RENAMED, Settings, deprecated, flag, old_flag, read, unknown_variables, variable
from rls.settings.read import _KUBERNETES
from rls.transport.grpc_framing import SHORT


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No variable of the machine's is taken for a setting."""
    for name in [*Settings.model_fields, *RENAMED]:
        monkeypatch.delenv(variable(name), raising=False)


def mistakes(**flags: object) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read(flags)
    return str(raised.value).splitlines()


def test_defaults() -> None:
    """What stands in the design: the ports of the reference, and only the admin address kept to this machine."""
    settings = read({"config": ["rules"]})
    assert (settings.grpc, settings.http, settings.admin) == ("0.0.0.0:8081", "0.0.0.0:8080", "127.0.0.1:6070")
    assert settings.backend.reveal() == "memory://"
    assert (settings.backend_timeout, settings.default_deadline, settings.drain_timeout) == (0.01, 0.02, 5)


def test_a_transport_that_is_gone_is_replaced_with_a_warning(monkeypatch) -> None:
    flags = {"config": ["rules"], "transport": "H2corn"}
    assert read(flags).transport == "native"
    assert list(deprecated(flags)) == ["--transport is 'h2corn', which no longer exists: 'native' is used instead"]
    monkeypatch.setenv("RLS_TRANSPORT", "h2corn")
    assert read({"config": ["rules"]}).transport == "native"
    assert list(deprecated({})) == ["RLS_TRANSPORT is 'h2corn', which no longer exists: 'native' is used instead"]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_transport_of_today_has_no_warning(transport) -> None:
    assert list(deprecated({"transport": transport})) == []
    assert read({"config": ["rules"], "transport": transport}).transport == transport


def test_flags_win_over_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("RLS_DRAIN_TIMEOUT", "1m")
    monkeypatch.setenv("RLS_NEAR_LIMIT_RATIO", "0.5")
    settings = read({"config": ["rules"], "drain_timeout": "3s"})
    assert (settings.drain_timeout, settings.near_limit_ratio) == (3, 0.5)


def test_an_empty_variable_is_the_default(monkeypatch) -> None:
    """Manifests set a variable to "" to unset it."""
    monkeypatch.setenv("RLS_DRAIN_TIMEOUT", "")
    assert read({"config": ["rules"]}).drain_timeout == 5


def test_lists_in_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("RLS_CONFIG", "/etc/a.yaml,/etc/b:/etc/c")
    monkeypatch.setenv("RLS_TLS_CLIENT_SAN", "spiffe://mesh/ns/x, envoy.mesh")
    monkeypatch.setenv("RLS_TLS_CLIENT_CA", "ca")
    monkeypatch.setenv("RLS_TLS_CERT", "cert")
    monkeypatch.setenv("RLS_TLS_KEY", "key")
    settings = read({})
    assert settings.config == (Path("/etc/a.yaml"), Path("/etc/b"), Path("/etc/c"))
    assert settings.tls_client_san == ("spiffe://mesh/ns/x", "envoy.mesh")


def test_all_mistakes_at_once(monkeypatch) -> None:
    """Each names the flag or the variable, what was given, and what was expected."""
    monkeypatch.setenv("RLS_GRPC", "nowhere")
    monkeypatch.setenv("RLS_SHADOW_MODE", "maybe")
    assert mistakes(
        drain_timeout="5 minutes", near_limit_ratio="2", max_concurrent_streams="many", log_level="loud", tls_key="k"
    ) == [
        "--config (RLS_CONFIG) is missing: expected at least one file or directory with rules",
        "--near-limit-ratio is '2': expected a number above 0, up to 1",
        "RLS_SHADOW_MODE is 'maybe': expected true or false",
        "RLS_GRPC is 'nowhere': expected HOST:PORT, [IPV6]:PORT, PORT or unix:/path",
        "--max-concurrent-streams is 'many': expected a whole number from 1 to 2147483647",
        "--drain-timeout is '5 minutes': expected a duration such as 10ms, 5s or 1m30s",
        "--log-level is 'loud': expected 'debug', 'info', 'warning' or 'error'",
        "--tls-key also needs --tls-cert (RLS_TLS_CERT)",
    ]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *(("near_limit_ratio", value, "a number above 0, up to 1") for value in ("nan", "inf", "0", "2", "x")),
        *(("decision_log_share", value, "a number from 0 to 1") for value in ("nan", "-1", "2")),
        *(("max_override_factor", value, "a number from 0") for value in ("nan", "inf", "-1", "x")),
        *(("memory_counters", value, "a whole number from 1") for value in ("0", "1.5", "x", "9" * 5_000)),
        ("max_overrides", "-1", "a whole number from 0"),
        ("backend_timeout", "0", "a duration above 0, such as 10ms, 5s or 1m30s"),
        ("default_deadline", 0.0, "a duration above 0, such as 10ms, 5s or 1m30s"),
    ],
)
def test_a_number_is_expected_with_both_of_its_bounds(name: str, value: object, expected: str) -> None:
    (mistake,) = mistakes(config=["rules"], **{name: value})
    assert mistake.endswith(f": expected {expected}")


def test_digests_need_a_secret_and_names_of_counters_that_no_other_server_knows(monkeypatch) -> None:
    assert mistakes(config=["rules"], hash_keys=["a"]) == [
        "--hash-keys also needs --hash-secret-file (RLS_HASH_SECRET_FILE)"
    ]
    monkeypatch.setenv("RLS_KEY_FORMAT", "Compat")
    (mistake,) = mistakes(config=["rules"], hash_secret_file="secret")
    assert mistake.startswith("--hash-secret-file needs the key format 'v1', not 'compat' (RLS_KEY_FORMAT): ")
    monkeypatch.delenv("RLS_KEY_FORMAT")
    monkeypatch.setenv("RLS_HASH_KEYS", "a, b,,c")
    assert read({"config": ["rules"], "hash_secret_file": "secret"}).hash_keys == ("a", "b", "c")
    given = {"config": ["rules"], "hash_secret_file": "secret", "hash_keys": ["a,b", "c"]}
    assert read(given).hash_keys == ("a", "b", "c")


def test_no_bound_on_messages_lies_below_those_that_are_not_measured() -> None:
    """The transport takes shorter ones as they come."""
    (mistake,) = mistakes(config=["rules"], max_message_bytes=SHORT - 1)
    assert mistake == "--max-message-bytes is 1023: expected a whole number from 1024 to 2147483647"
    assert read({"config": ["rules"], "max_message_bytes": SHORT}).max_message_bytes == SHORT


def test_the_password_of_a_bad_backend_is_not_told(monkeypatch) -> None:
    monkeypatch.setenv("RLS_BACKEND", "redsi://user:hunter2@host")
    (mistake,) = mistakes(config=["rules"])
    assert mistake.startswith("RLS_BACKEND is 'redsi://user:***@host': expected memory://")


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(read({"config": ["rules"], "backend": "redis://u:hunter2@h"}))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(read({"config": ["rules"]}), "drain_timeout", 1.0)  # noqa: B010 - the type checker knows it, too


def test_a_mistyped_variable_is_told() -> None:
    environ = {"RLS_BACKEN": "redis://h", "RLS_QUUX": "1", "PATH": "", "RLS_BACKEND": "redis://h", "RLS_EMPTY": ""}
    assert list(unknown_variables(environ)) == [
        "RLS_BACKEN is not a setting; did you mean RLS_BACKEND?",
        "RLS_QUUX is not a setting",
    ]


def test_a_variable_in_small_letters_is_not_read(monkeypatch) -> None:
    """Nor half read: it has no effect, which is told."""
    monkeypatch.setenv("rls_drain_timeout", "1s")
    monkeypatch.setenv("Rls_Backen", "redis://h")
    assert mistakes(config=["rules"]) == [
        "Rls_Backen is not a setting; did you mean RLS_BACKEND?",
        "rls_drain_timeout is not a setting: expected it in capitals, RLS_DRAIN_TIMEOUT",
    ]
    assert read({"config": ["rules"], "allow_unknown_variables": True}).drain_timeout == 5


def test_nobody_means_a_drain_of_hours() -> None:
    (mistake,) = mistakes(config=["rules"], drain_timeout="61m")
    expected = "at most 1h; Kubernetes waits for terminationGracePeriodSeconds, which is 30 s by default"
    assert mistake == f"--drain-timeout is '61m': expected {expected}"
    assert read({"config": ["rules"], "drain_timeout": "1h"}).drain_timeout == 3600


def test_a_mistyped_variable_stops_the_start_unless_it_is_allowed(monkeypatch) -> None:
    monkeypatch.setenv("RLS_BACKEN", "redis://h")
    assert mistakes(config=["rules"]) == ["RLS_BACKEN is not a setting; did you mean RLS_BACKEND?"]
    assert mistakes(config=["rules"], allow_unknown_variables="maybe") == [
        "--allow-unknown-variables is 'maybe': expected true or false",
        "RLS_BACKEN is not a setting; did you mean RLS_BACKEND?",
    ]
    assert read({"config": ["rules"], "allow_unknown_variables": True}).allow_unknown_variables
    monkeypatch.setenv("RLS_ALLOW_UNKNOWN_VARIABLES", "True")
    assert read({"config": ["rules"]}).allow_unknown_variables


OLD = [
    ("caller_timeout", "30ms", "default_deadline", 0.03),
    ("drain", "3s", "drain_timeout", 3),
    ("max_streams", "7", "max_concurrent_streams", 7),
    ("refusal_header", "x-limited-by", "limited_by_header", "x-limited-by"),
    ("charge_refused", "false", "refund_over_limit", True),
    ("charge_refused", "true", "refund_over_limit", False),
]


@pytest.mark.parametrize(("old", "text", "new", "value"), OLD, ids=str)
@pytest.mark.parametrize("as_flag", [True, False], ids=["flag", "variable"])
def test_old_names_are_read_with_a_warning(monkeypatch, old, text, new, value, as_flag) -> None:
    flags = {"config": ["rules"]}
    if as_flag:
        flags[old] = text
    else:
        monkeypatch.setenv(variable(old), text)
    assert getattr(read(flags), new) == value
    (warning,) = deprecated(flags)
    names = (old_flag(old), flag(new)) if as_flag else (variable(old), variable(new))
    opposite = ", which means the opposite" if old == "charge_refused" else ""
    assert warning == f"{names[0]} is an old name, which the next release will not read: use {names[1]}{opposite}"


def test_every_old_name_is_tried() -> None:
    assert {old for old, *_ in OLD} == RENAMED.keys()


def test_an_old_name_beside_its_new_one_is_a_mistake(monkeypatch) -> None:
    assert mistakes(config=["rules"], drain="1s", drain_timeout="2s") == [
        "--drain is the old name of --drain-timeout: expected only --drain-timeout"
    ]
    monkeypatch.setenv("RLS_CHARGE_REFUSED", "false")
    monkeypatch.setenv("RLS_REFUND_OVER_LIMIT", "true")
    assert mistakes(config=["rules"]) == [
        "RLS_CHARGE_REFUSED is the old name of RLS_REFUND_OVER_LIMIT: expected only RLS_REFUND_OVER_LIMIT"
    ]


def test_a_flag_wins_over_an_old_variable_and_an_old_flag_over_a_variable(monkeypatch) -> None:
    monkeypatch.setenv("RLS_DRAIN", "1s")
    assert read({"config": ["rules"], "drain_timeout": "2s"}).drain_timeout == 2
    monkeypatch.delenv("RLS_DRAIN")
    monkeypatch.setenv("RLS_DRAIN_TIMEOUT", "1s")
    assert read({"config": ["rules"], "drain": "2s"}).drain_timeout == 2


def test_a_mistake_in_an_old_name_names_it(monkeypatch) -> None:
    monkeypatch.setenv("RLS_CHARGE_REFUSED", "never")
    assert mistakes(config=["rules"], drain="10") == [
        "RLS_CHARGE_REFUSED is 'never': expected true or false",
        "--drain is '10': 10 has no unit, expected 10ms or 10s",
    ]


KUBERNETES = [
    "RLS_SERVICE_HOST",
    "RLS_SERVICE_PORT",
    "RLS_SERVICE_PORT_GRPC",
    "RLS_PORT",
    "RLS_PORT_8081_TCP",
    "RLS_PORT_8081_TCP_PROTO",
    "RLS_PORT_8081_TCP_PORT",
    "RLS_PORT_8081_TCP_ADDR",
    "RLS_GRPC_SERVICE_HOST",
    "RLS_GRPC_PORT_8081_TCP_ADDR",
    "RLS_CONFIG_PORT",
]


def test_what_kubernetes_adds_for_a_service_is_neither_taken_nor_told() -> None:
    """For a Service called `rls`, `rls-grpc` or `rls-config`."""
    assert list(unknown_variables(dict.fromkeys(KUBERNETES, "tcp://10.0.0.1:8081"))) == []


def test_no_setting_has_a_name_that_kubernetes_may_use() -> None:
    assert [name for name in Settings.model_fields if re.fullmatch(_KUBERNETES, variable(name))] == []
