"""Since when rules are in shadow mode, by git; quietly nothing where git does not know."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from rls.config.findings import Finding, Severity
from rls.config.shadows import shadow_lines
from rls.errors import SourceLocation

_DAY = 86_400
_SECONDS = 10
"""How long git may take for a file."""
_MOST = 500
"""Lines of a file that git is asked about."""


def old_shadows(files: Iterable[str], read: Callable[[str], bytes], days: int) -> Iterator[Finding]:
    """A finding for each line of *files* that has switched shadow mode on for more than *days*."""
    now = time.time()
    for file in files:
        try:
            lines = shadow_lines(file, read(file))[:_MOST]
        except OSError:
            continue
        for line, since in (_dates(file, lines) if lines else {}).items():
            age = int((now - since) // _DAY)
            if age > days:
                when = time.strftime("%Y-%m-%d", time.gmtime(since))
                message = (
                    f"`shadow_mode` is on since {when}, for {age} days: the rule limits nothing; remove it, or the rule"
                )
                yield Finding(SourceLocation(file, line, 1), Severity.WARNING, "old_shadow", message)


def _dates(file: str, lines: list[int]) -> Mapping[int, float]:
    """Line → seconds since 1970 at which it was committed, of those that are committed."""
    path = Path(file).absolute()
    ranges = [word for line in lines for word in ("-L", f"{line},{line}")]
    command = ["git", "-C", str(path.parent), "blame", "--porcelain", *ranges, "--", path.name]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return _parsed(done.stdout.decode(errors="replace")) if done.returncode == 0 else {}


def _parsed(text: str) -> Mapping[int, float]:
    """See git-blame(1), the porcelain format: of each commit, its details come with its first line only."""
    commit, line = "", 0
    times: dict[str, float] = {}
    lines: dict[int, str] = {}
    for row in text.splitlines():
        words = row.split(" ")
        if row.startswith("\t"):
            lines[line] = commit
        elif len(words[0]) >= 40 and len(words) >= 3 and words[2].isdecimal():
            commit, line = words[0], int(words[2])
        elif words[0] == "committer-time":
            times[commit] = float(words[1])
    return {line: times[commit] for line, commit in lines.items() if commit in times and commit.strip("0")}
