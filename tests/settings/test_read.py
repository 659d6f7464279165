import re
from pathlib import Path

import pytest

from rls.app.stores import BACKENDS
from rls.errors import SettingsError
from rls.settings import SCHEMES, Settings, not_settings, outdated, read, variable
from rls.settings.read import _KUBERNETES
from rls.transport.grpc_framing import SHORT


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No variable of the machine's is taken for a setting."""
    for name in Settings.model_fields:
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
    assert (settings.backend_timeout, settings.caller_timeout, settings.drain) == (0.01, 0.02, 5)


def test_a_transport_that_is_gone_is_replaced_with_a_warning(monkeypatch) -> None:
    flags = {"config": ["rules"], "transport": "H2corn"}
    assert read(flags).transport == "native"
    assert list(outdated(flags)) == ["--transport is 'h2corn', which is gone: 'native' is used instead"]
    monkeypatch.setenv("RLS_TRANSPORT", "h2corn")
    assert read({"config": ["rules"]}).transport == "native"
    assert list(outdated({})) == ["RLS_TRANSPORT is 'h2corn', which is gone: 'native' is used instead"]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_transport_of_today_has_no_warning(transport) -> None:
    assert list(outdated({"transport": transport})) == []
    assert read({"config": ["rules"], "transport": transport}).transport == transport


def test_flags_win_over_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("RLS_DRAIN", "1m")
    monkeypatch.setenv("RLS_NEAR_LIMIT_RATIO", "0.5")
    settings = read({"config": ["rules"], "drain": "3"})
    assert (settings.drain, settings.near_limit_ratio) == (3, 0.5)


def test_an_empty_variable_is_the_default(monkeypatch) -> None:
    """Manifests set a variable to "" to unset it."""
    monkeypatch.setenv("RLS_DRAIN", "")
    assert read({"config": ["rules"]}).drain == 5


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
    assert mistakes(drain="5 minutes", near_limit_ratio="2", max_streams="many", log_level="loud", tls_key="k") == [
        "--config (RLS_CONFIG) is missing: expected at least one file or directory with rules",
        "--near-limit-ratio is '2': expected a number less than or equal to 1",
        "RLS_SHADOW_MODE is 'maybe': expected true or false",
        "RLS_GRPC is 'nowhere': expected HOST:PORT, [IPV6]:PORT, PORT or unix:/path",
        "--max-streams is 'many': expected a whole number",
        "--drain is '5 minutes': expected a duration such as 10ms, 5s, 1m30s, or a number of seconds",
        "--log-level is 'loud': expected 'debug', 'info', 'warning' or 'error'",
        "--tls-key needs --tls-cert (RLS_TLS_CERT) too",
    ]


def test_no_bound_on_messages_lies_below_those_that_are_not_measured() -> None:
    """The transport takes shorter ones as they come."""
    (mistake,) = mistakes(config=["rules"], max_message_bytes=SHORT - 1)
    assert mistake == "--max-message-bytes is 1023: expected a number greater than or equal to 1024"
    assert read({"config": ["rules"], "max_message_bytes": SHORT}).max_message_bytes == SHORT


def test_the_password_of_a_bad_backend_is_not_told(monkeypatch) -> None:
    monkeypatch.setenv("RLS_BACKEND", "redsi://user:hunter2@host")
    (mistake,) = mistakes(config=["rules"])
    assert mistake.startswith("RLS_BACKEND is 'redsi://user:***@host': expected memory://")


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(read({"config": ["rules"], "backend": "redis://u:hunter2@h"}))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(read({"config": ["rules"]}), "drain", 1.0)  # noqa: B010 - the type checker knows it, too


def test_a_mistyped_variable_is_told() -> None:
    environ = {"RLS_DRIAN": "5s", "RLS_QUUX": "1", "PATH": "", "RLS_DRAIN": "5s"}
    assert list(not_settings(environ)) == [
        "RLS_DRIAN is not a setting; did you mean RLS_DRAIN?",
        "RLS_QUUX is not a setting",
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
    assert list(not_settings(dict.fromkeys(KUBERNETES, "tcp://10.0.0.1:8081"))) == []


def test_no_setting_has_a_name_that_kubernetes_may_use() -> None:
    assert [name for name in Settings.model_fields if re.fullmatch(_KUBERNETES, variable(name))] == []


def test_every_backend_that_can_be_named_can_be_built() -> None:
    assert set(BACKENDS) == set(SCHEMES)
