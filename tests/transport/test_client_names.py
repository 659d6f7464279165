import pytest

from rls.transport.base import Tls
from rls.transport.client_names import SanAllowlist, fingerprint
from tests.certs import Authority, put

CA = Authority()


@pytest.mark.parametrize(
    ("allowed", "names", "is_allowed"),
    [
        (["gateway.example"], ["gateway.example"], True),
        (["Gateway.Example"], ["gateway.EXAMPLE", "other"], True),
        (["spiffe://mesh/ns/a/sa/b"], ["spiffe://mesh/ns/a/sa/b"], True),
        (["a", "b"], ["b"], True),
        (["spiffe://mesh/ns/a/sa/b"], ["spiffe://mesh/ns/a/sa/B"], False),
        (["gateway.example"], ["other.example"], False),
        (["gateway.example"], ["sub.gateway.example"], False),
        (["gateway.example"], [], False),
    ],
)
def test_client_is_allowed_by_one_of_its_names(allowed, names, is_allowed):
    client_names = SanAllowlist(allowed)
    assert client_names.allow(names) is is_allowed


def test_fingerprint_changes_with_the_files_only(tmp_path):
    tls = Tls(tmp_path / "tls.crt", tmp_path / "tls.key")
    assert fingerprint(tls) == (None, None)
    put(tmp_path, *CA.issue("a"))
    first = fingerprint(tls)
    assert first == fingerprint(tls)
    assert None not in first
    put(tmp_path, *CA.issue("a"))
    assert fingerprint(tls) != first
