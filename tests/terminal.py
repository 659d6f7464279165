"""What text does to whoever shows it: a terminal, or the log of a CI."""

from __future__ import annotations

import re
import unicodedata

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n::error::fake\n##[add-mask]x\x7f\x9b31m\u202egpj\u2028\u200b\\x1b"
"""Sets the title, clears the screen, begins lines, gives commands to a CI, turns direction, and pretends to be escaped."""
_COMMANDS = "add-mask|add-matcher|debug|echo|endgroup|error|group|notice|save-state|set-output|stop-commands|warning"


def harm(text: str) -> set[str]:
    """The characters of *text* that a terminal obeys or does not show; lines may end."""
    kinds = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
    return {char for char in text if unicodedata.category(char) in kinds} - {" ", "\n"}


def commands(text: str) -> list[str]:
    """What GitHub's runner takes *text* for, as it parses lines: `::NAME …::` at their start, `##[NAME …]` anywhere."""
    found = [
        re.match(rf"\s*::({_COMMANDS})\b.*?::", line) or re.search(rf"##\[({_COMMANDS})\b.*?\]", line)
        for line in text.split("\n")
    ]
    return [named[1] for named in found if named]
