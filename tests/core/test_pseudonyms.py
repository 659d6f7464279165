import hmac
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.core.model import to_bytes
from rls.core.pseudonyms import DIGEST_DIGITS, DIGEST_TAG, Hide, Pseudonyms, plain
from tests.redis_server import missing

PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"
SECRET = b"0123456789abcdef"
# Bytes that are not UTF-8 come as lone surrogates (PEP 383).
texts = st.text(max_size=8) | st.binary(max_size=6).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


def test_a_digest_is_what_openssl_computes(tmp_path: Path) -> None:
    """The recipe of docs/privacy.md, with a tool that is not ours."""
    if shutil.which("openssl") is None:
        missing("needs openssl")
    page = PAGE.read_text()
    (recipe, printed) = re.findall(r"^\$ (printf .*openssl.*)\n(\w+)$", page, re.MULTILINE)[0]
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    said = subprocess.run(["sh", "-c", recipe], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    assert said == printed
    assert Pseudonyms(SECRET).hide("company_id", "acme") == f"hmac:{said}"
    assert f"\ncompany_id=hmac:{said}\n" in page


@given(st.binary(min_size=16, max_size=200), texts, texts.filter(bool))
def test_a_digest_is_an_hmac(secret: bytes, key: str, value: str) -> None:
    """Whatever the length of the secret."""
    expected = hmac.digest(secret, to_bytes(f"{key}={value}"), "sha256").hex()[:DIGEST_DIGITS]
    assert Pseudonyms(secret).hide(key, value) == DIGEST_TAG + expected


def test_digests_stay_the_same_in_every_version() -> None:
    """Another digest is another counter: pods of two versions would count apart."""
    assert Pseudonyms(SECRET).hide("company_id", "acme") == "hmac:b8629241d8d0faec58aae1b7"


@given(st.tuples(texts, texts), st.tuples(texts, texts))
def test_two_values_of_a_key_never_share_a_digest(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Whatever bytes clients send, each value keeps a counter of its own."""
    hide = Pseudonyms(SECRET).hide
    if one[0] == other[0]:
        assert (hide(*one) == hide(*other)) == (one[1] == other[1])


@given(texts, texts)
def test_a_digest_says_nothing_of_its_value(key: str, value: str) -> None:
    """It has one length, and no more of the value than chance: only an empty value, which is nobody's, shows."""
    hidden = Pseudonyms(SECRET).hide(key, value)
    if value:
        assert hidden.startswith(DIGEST_TAG)
        assert len(hidden) == len(DIGEST_TAG) + DIGEST_DIGITS
        assert set(hidden[len(DIGEST_TAG) :]) <= set("0123456789abcdef")
    else:
        assert hidden == ""


def test_another_secret_and_another_key_give_another_digest() -> None:
    """So a digest from one place cannot be looked up in another."""
    found = {
        Pseudonyms(secret).hide(key, "203.0.113.7")
        for secret in (SECRET, SECRET[::-1])
        for key in ("remote_address", "login_address")
    }
    assert len(found) == 4


def test_only_the_named_keys_are_hidden() -> None:
    """All others show their values."""
    hide = Pseudonyms(SECRET, keys={"remote_address"}).hide
    assert hide("path", "/login") == "/login"
    assert hide("remote_address", "203.0.113.7").startswith(DIGEST_TAG)
    assert Pseudonyms(SECRET, keys=()).hide("path", "/login") == "/login"


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    """The message says how long it must be."""
    with pytest.raises(ValueError, match="a secret of 15 bytes, expected at least 16"):
        Pseudonyms(SECRET[:15])


def test_the_id_of_a_secret_tells_secrets_apart_and_is_no_digest_of_a_value() -> None:
    """Pods show it, so that a pod with another secret is found."""
    ids = {Pseudonyms(secret, keys=keys).secret_id for secret in (SECRET, SECRET[::-1]) for keys in (None, {"a"})}
    assert len(ids) == 2
    assert all(len(one) == 8 and int(one, 16) >= 0 for one in ids)


@pytest.mark.parametrize("value", ["", "acme", "\udcff"])
def test_without_hashing_values_are_themselves(value: str) -> None:
    """`plain` has the same shape, so whoever shows values need not know whether they are hidden."""
    hide: Hide = plain
    assert hide("company_id", value) == value
    assert to_bytes(hide("company_id", value)) == to_bytes(value)
