"""What a server prints when it starts: its addresses, and a command to try."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rls.addresses import loopback, unix_path
from rls.core.rules import RuleSet
from rls.printable import printable


def banner(addresses: Mapping[str, str], rules: RuleSet, *, tls: bool = False) -> str:
    """Lines with *addresses*, by what they serve, a command that sends a check to the one for gRPC, and the page to look at."""
    listed = "".join(f"  {name:5} {address}\n" for name, address in addresses.items())
    tried = example_call(addresses["grpc"], rules, tls=tls)
    page = _page(addresses.get("admin", "off"))
    return (
        f"rls listens on\n{listed}" + (f"try\n  {tried}\n" if tried else "") + (f"look at\n  {page}\n" if page else "")
    )


def _page(admin: str) -> str:
    """What a browser opens; "" where there is no such address."""
    return "" if admin == "off" or unix_path(admin) is not None else f"http://{loopback(admin)}"


def example_call(address: str, rules: RuleSet, *, tls: bool = False) -> str:
    """A command that sends the server at *address* a check for one of *rules*; "" without rules."""
    address = loopback(address)
    for domain in rules.domains.values():
        if entries := domain.example():
            words = [_program(), "call", address, *(["--tls"] if tls else []), "--domain", domain.name]
            return " ".join(map(_quoted, [*words, *(f"{key}={value}" for key, value in entries)]))
    return ""


def _quoted(word: str) -> str:
    """*word* for a shell. Bash, zsh and ksh take its unprintable characters as `printable` escapes them."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = printable(word).replace("'", "\\'")
    return f"$'{escaped}'"


def _program() -> str:
    """`rls`, or its path: there may be none in the PATH, or another, as Rust's language server has the same name."""
    typed, found = sys.argv[0], Path(shutil.which("rls") or "").resolve()
    return typed if typed.endswith("/rls") and found != Path(typed).resolve() else "rls"
