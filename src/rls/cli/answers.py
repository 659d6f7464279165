"""The answers of `rls call`, as tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from rls.cli.rows import rule_text
from rls.core.model import UINT32_MAX, Request
from rls.printable import printable, printable_line

if TYPE_CHECKING:
    from rls.api.messages import Answer, DescriptorAnswer

_STYLES = {"OK": "green", "OVER_LIMIT": "red"}


def print_answers(request: Request, answers: Sequence[Answer]) -> None:
    """Print the last answer to *request*, and how many there were of each code."""
    _print_answer(request, answers[-1])
    if len(answers) > 1:
        codes = Counter(answer.code for answer in answers)
        listed = ", ".join(f"{number} {code}" for code, number in sorted(codes.items()))
        typer.echo(f"{len(answers)} checks: {listed}")


def _print_answer(request: Request, answer: Answer) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    summary = Text.assemble((answer.code, _STYLES.get(answer.code, "")), f" in {answer.seconds * 1000:.1f} ms")
    if "rule" in answer.metadata:
        summary.append(
            printable(
                f"; limited by rule {rule_text(answer.metadata)}, at descriptor {answer.metadata.get('descriptor')}"
            )
        )
    if policies := answer.metadata.get("on_backend_error"):
        summary.append(printable(f"; backend unavailable, decided by on_backend_error: {policies}"))
    if not answer.statuses:
        summary.append("; the server sent no statuses")
    console.print(summary)
    if answer.statuses:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for heading in ("descriptor", "status", "limit", "remaining", "reset"):
            table.add_column(heading, overflow="fold")
        for descriptor, status in zip(request.descriptors, answer.statuses, strict=False):
            table.add_row(
                Text(printable_line(descriptor.text)), Text(status.code, _STYLES.get(status.code, "")), *_cells(status)
            )
        console.print(table)
    for name, value in answer.headers:
        console.print(Text(printable_line(f"{name}: {value}")))
    if answer.raw_body:
        for line in answer.raw_body.decode(errors="surrogateescape").removesuffix("\n").split("\n"):
            console.print(Text(printable_line(line)))


def _cells(status: DescriptorAnswer) -> tuple[str, str, str]:
    """Limit, remaining and reset."""
    limit = status.limit
    if limit is None:
        return ("unlimited", "-", "-") if status.limit_remaining == UINT32_MAX else ("no limit", "-", "-")
    return limit.text, str(status.limit_remaining), f"{status.seconds_until_reset} s"
