"""The file with the tokens of the admin address."""

import pytest

from rls.api.admin.tokens import AdminTokens
from rls.errors import SettingsError

ALICE, BOB = "s3cr3t-of-alice-0123456789", "s3cr3t-of-bob-0123456789"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (ALICE, {ALICE: "admin"}),
        (f"alice:{ALICE}", {ALICE: "alice"}),
        (f"  alice@example.com:{ALICE}\r\n\n bob:{BOB}  \n", {ALICE: "alice@example.com", BOB: "bob"}),
        (f"a:b:{ALICE}", {f"b:{ALICE}": "a"}),
    ],
)
async def test_each_line_is_a_token_with_or_without_a_name(tmp_path, text, names) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    tokens = AdminTokens(path)
    assert tokens.exist
    for token, name in names.items():
        assert await tokens.name_of(f"Bearer {token}") == name
        assert await tokens.name_of(f"bearer  {token} ") == name
        for wrong in (f"Basic {token}", token, f"Bearer {token}x", f"Bearer {token[:-1]}", "Bearer", "Bearer \xe9", ""):
            assert await tokens.name_of(wrong) is None
    assert await tokens.own() == next(iter(names))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it has no token"),
        ("\n \n", "it has no token"),
        ("short", "the token in line 1 is shorter than 16 characters"),
        (f"{ALICE}\nbob:short", "the token in line 2 is shorter than 16 characters"),
        ("\0a secret", "it is binary, no text, expected a line of ASCII for each token"),
        ("two words in a line", "line 1 is neither NAME:TOKEN nor a token of printable ASCII"),
        ("s\u00e9cret-0123456789", "line 1 is neither NAME:TOKEN nor a token of printable ASCII"),
    ],
)
def test_a_file_without_a_usable_token_is_a_mistake(tmp_path, text, problem) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(SettingsError) as found:
        AdminTokens(path)
    assert problem in str(found.value)
    assert "short" not in str(found.value).replace("shorter", "")
    assert "0123456789" not in str(found.value)


async def test_every_token_of_a_long_file_is_one_and_no_part_of_one(tmp_path) -> None:
    path = tmp_path / "tokens"
    path.write_text("".join(f"n{number}:{number:064}\n" for number in range(200)))
    tokens = AdminTokens(path)
    assert await tokens.name_of(f"Bearer {199:064}") == "n199"
    path.write_text("x" * 100_000)
    with pytest.raises(SettingsError, match="has more than 65536 bytes"):
        AdminTokens(path)


async def test_without_a_file_nobody_has_a_token() -> None:
    tokens = AdminTokens(None)
    assert (tokens.exist, await tokens.name_of(f"Bearer {ALICE}"), await tokens.own()) == (False, None, "")


async def test_the_file_is_read_once_a_second_at_most(tmp_path) -> None:
    """Who tries tokens does not keep the disk busy."""
    path, now = tmp_path / "tokens", [0.0]
    path.write_text(ALICE)
    tokens = AdminTokens(path, lambda: now[0])
    path.write_text(BOB)
    assert await tokens.name_of(f"Bearer {ALICE}") == "admin"
    now[0] = 1.0
    assert await tokens.name_of(f"Bearer {ALICE}") is None
    assert await tokens.name_of(f"Bearer {BOB}") == "admin"
