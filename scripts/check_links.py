"""Every relative link and anchor in the repository's Markdown files leads somewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent
PARSER = MarkdownIt("gfm-like", {"linkify": False})
HTML_ANCHOR = re.compile(r"""<[a-z][^>]*\s(?:id|name)=["']([^"']+)["']""", re.IGNORECASE)


class Link(NamedTuple):
    line: int
    target: str


def markdown_files() -> list[Path]:
    """What git tracks or would track, so that caches and environments are left alone."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(path for name in listed.split("\0") if name and (path := ROOT / name).exists())


@cache
def tokens(path: Path) -> list[Token]:
    return PARSER.parse(path.read_text("utf-8"))


def links(path: Path) -> Iterator[Link]:
    for block in tokens(path):
        for token in block.children or ():
            target = token.attrGet("href" if token.type == "link_open" else "src")
            if target is not None:
                yield Link((block.map or [0])[0] + 1, str(target))


@cache
def anchors(path: Path) -> frozenset[str]:
    """The fragments that GitHub gives the headings, and those set in HTML."""
    found: set[str] = set()
    parsed = tokens(path)
    for block, following in zip(parsed, [*parsed[1:], None], strict=True):
        if block.type == "heading_open" and following is not None:
            found.add(free_slug(following, found))
        if block.type in {"html_block", "inline"}:
            found.update(HTML_ANCHOR.findall(block.content))
    return frozenset(found)


def free_slug(heading: Token, taken: set[str]) -> str:
    text = "".join(child.content for child in heading.children or () if child.type in {"text", "code_inline"})
    slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
    count = 0
    while (candidate := f"{slug}-{count}" if count else slug) in taken:
        count += 1
    return candidate


def problem(source: Path, target: str) -> str | None:
    url = urlsplit(target)
    if url.scheme or url.netloc:
        return None
    base = ROOT if url.path.startswith("/") else source.parent
    path = (base / unquote(url.path).lstrip("/")).resolve() if url.path else source
    if not path.is_relative_to(ROOT):
        return "leads out of the repository"
    if not path.exists():
        return "there is no such file"
    if url.fragment and path.suffix == ".md" and unquote(url.fragment) not in anchors(path):
        return f"there is no such heading in {path.relative_to(ROOT)}"
    return None


def main() -> int:
    paths = markdown_files()
    broken = 0
    for path in paths:
        for link in links(path):
            if what := problem(path, link.target):
                broken += 1
                print(f"{path.relative_to(ROOT)}:{link.line}: {link.target}: {what}", file=sys.stderr)
    print(f"links of {len(paths)} Markdown files: {broken or 'none'} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
