import ssl
from contextlib import suppress

import pytest
from hypothesis import given, strategies

from rls.transport.base import Tls
from rls.transport.certificates import ClientNames, alternative_names, fingerprint
from tests.certs import Authority, put

CA = Authority()
LEAF = ssl.PEM_cert_to_DER_cert(CA.issue("client.example", "spiffe://mesh/a")[0].decode())
LABEL = strategies.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{0,20}", fullmatch=True)
DNS_NAME = strategies.lists(LABEL, min_size=1, max_size=4).map(".".join)
URI = strategies.builds("spiffe://{}/ns/{}/sa/{}".format, DNS_NAME, LABEL, LABEL)


@given(strategies.lists(DNS_NAME | URI, max_size=30))
def test_names_are_those_that_the_certificate_was_issued_for(names):
    pem, _ = CA.issue(*names)
    assert alternative_names(pem.decode()) == frozenset(names)


def test_neither_subject_nor_addresses_are_names():
    pem, _ = CA.issue("127.0.0.1", "::1", common_name="rls.example")
    assert alternative_names(pem.decode()) == frozenset()


def test_certificate_without_alternative_names_has_none():
    pem, _ = CA.issue()
    assert alternative_names(pem.decode()) == frozenset()


@given(at=strategies.integers(0, len(LEAF) - 1), removed=strategies.integers(0, 3), added=strategies.binary(max_size=3))
def test_broken_certificate_is_a_value_error_at_most(at, removed, added):
    """Only verified ones get there; still none may break anything else."""
    broken = LEAF[:at] + added + LEAF[at + removed :]
    with suppress(ValueError):
        alternative_names(ssl.DER_cert_to_PEM_cert(broken))


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
    client_names = ClientNames(allowed)
    pem, _ = CA.issue(*names)
    assert client_names.allow(names) is is_allowed
    assert client_names.allow_certificate(pem.decode()) is is_allowed


def test_fingerprint_changes_with_the_files_only(tmp_path):
    tls = Tls(tmp_path / "tls.crt", tmp_path / "tls.key")
    assert fingerprint(tls) == (None, None)
    put(tmp_path, *CA.issue("a"))
    first = fingerprint(tls)
    assert first == fingerprint(tls)
    assert None not in first
    put(tmp_path, *CA.issue("a"))
    assert fingerprint(tls) != first
