"""Files that are not what was expected, and what is said of them."""

from __future__ import annotations

import gzip

import pytest

from rls.file_kinds import binary_kind, kind_of


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (gzip.compress(b"{}", mtime=0), "compressed by gzip"),
        ("{}".encode("utf-16"), "text in UTF-16"),
        (b"\xc9\x00\x01", "binary, no text"),
        (b"\xc9", "binary, no text"),
        (b"<!doctype html>", "HTML or XML"),
        (b"# rules\ndomain: mesh\n", "YAML"),
        (b"---\n- a\n", "YAML"),
        (b"404 page not found\n", "text"),
        (b'{"configs": [\n', "JSON that ends in line 2, too early"),
        (b'{"configs": [\n1 2]}', "JSON that is broken in line 2"),
        (b"[" * 100_000, "JSON that is nested too deeply"),
    ],
)
def test_what_a_file_seems_to_be(data: bytes, kind: str) -> None:
    assert kind_of(data) == kind


def test_text_is_not_binary() -> None:
    assert binary_kind(b"domain: mesh\n") == ""
