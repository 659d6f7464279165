"""Find phrases that make readers stumble, in docs, docstrings, comments and messages.

scripts/prose.toml lists the phrases, with what to write instead: those for all texts, and those for pages alone. A phrase
that many places still have is allowed that many times, and no more. `--lower` lowers these numbers to those of today.
Sentences of pages have a largest number of words.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
PHRASES = Path(__file__).with_suffix("").parent / "prose.toml"
# Not prose, not ours, or made by a program.
EXCLUDED = (
    *("scripts/prose.toml", "tests/scripts/test_check_prose.py", "LICENSE"),
    # What is generated.
    *(
        "charts/rls/files/",
        "charts/rls/templates/istio/",
        "charts/rls/templates/k8s/",
        "requirements/",
        "src/rls/proto/",
    ),
)
NOTES = {"docs/plan.md"}
"""Lists for ourselves, whose sentences may be long."""
SUFFIXES = {".md", ".py", ".yaml", ".yml", ".toml", ".sh", ".proto", ""}
LONGEST_SENTENCE = 40
"""Words. Most sentences should have fewer than 25: one idea each."""
_MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+")
# Between two words: blanks, and a line's end with the mark of a comment or a list before the text goes on.
_GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:#+|//|>|\*|-)?[ \t]*)"


def pattern(phrase: str) -> re.Pattern[str]:
    """*phrase* as whole words, over the ends of lines too; `*` stands for the rest of a word."""
    words = (re.escape(word).replace(r"\*", r"\w*") for word in phrase.split())
    return re.compile(rf"(?<![\w-])(?:{_GAP.join(words)})(?![\w-])", re.IGNORECASE)


def found(phrase: str, texts: Mapping[str, str]) -> list[str]:
    """The places of *phrase* in *texts*, which are given by their path: path, line and the words."""
    places = []
    for path, text in texts.items():
        for match in pattern(phrase).finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            places.append(f"{path}:{line}: {' '.join(match[0].split())}")
    return places


def check(phrases: Mapping[str, str], not_yet: Mapping[str, int], texts: Mapping[str, str]) -> list[str]:
    """What is wrong, with the place and what to write instead."""
    problems = []
    for phrase, instead in phrases.items():
        places = found(phrase, texts)
        if phrase not in not_yet:
            problems += [f"{place}: {instead}" for place in places]
        elif len(places) > not_yet[phrase]:
            # Not where: nearly all of them are old.
            more = len(places) - not_yet[phrase]
            problems.append(f"{phrase!r} has {more} places too many (git diff main | grep '^+' shows yours): {instead}")
    problems += [
        f"{PHRASES.name}: {phrase!r} has a number, and no advice" for phrase in not_yet if phrase not in phrases
    ]
    return problems


def lowered(config: str, not_yet: Mapping[str, int], texts: Mapping[str, str]) -> str:
    """*config* with the numbers of today, where they are lower; without those that have become 0."""
    for phrase, number in not_yet.items():
        now = len(found(phrase, texts))
        if now < number:
            line = f'"{phrase}" = {number}\n'
            config = config.replace(line, f'"{phrase}" = {now}\n' if now else "")
    return config


def tracked() -> dict[str, str]:
    """The texts of this project by their path."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = [name for name in names if Path(name).suffix in SUFFIXES and not name.startswith(EXCLUDED)]
    # Some files of tests are not UTF-8, and a file that was removed may not be staged yet.
    return {name: (ROOT / name).read_text(errors="replace") for name in wanted if (ROOT / name).is_file()}


def long_sentences(texts: Mapping[str, str]) -> list[str]:
    """Where a sentence of *texts*, which are Markdown, has more than `LONGEST_SENTENCE` words. Code is one word."""
    problems = []
    for path, text in texts.items():
        for block in _MARKDOWN.parse(text):
            words = ("code" if child.type == "code_inline" else child.content or " " for child in block.children or ())
            for sentence in _SENTENCE_END.split("".join(words)):
                number = len(sentence.split())
                if number > LONGEST_SENTENCE:
                    line = (block.map or [0])[0] + 1
                    problems.append(f"{path}:{line}: a sentence of {number} words, split it: {sentence[:60]}…")
    return problems


def pages(texts: Mapping[str, str]) -> dict[str, str]:
    """Those of *texts* that users read. The changelog quotes earlier versions, and programs write the results of benches."""
    left_out = ("CHANGELOG.md", "benches/results/")
    return {name: text for name, text in texts.items() if name.endswith(".md") and not name.startswith(left_out)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lower", action="store_true", help="write the numbers of today, where they are lower")
    args = parser.parse_args()
    config = PHRASES.read_text()
    table = tomllib.loads(config)
    texts = tracked()
    parts = (("phrases", "not_yet", texts), ("phrases_of_pages", "not_yet_of_pages", pages(texts)))
    if args.lower:
        for _, not_yet, of_part in parts:
            config = lowered(config, table[not_yet], of_part)
        PHRASES.write_text(config)
        return 0
    problems = [problem for phrases, not_yet, part in parts for problem in check(table[phrases], table[not_yet], part)]
    problems += long_sentences({name: text for name, text in pages(texts).items() if name not in NOTES})
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
