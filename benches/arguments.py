"""What the command lines of benches have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

_RESULTS = Path(__file__).parent / "results"


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for `python -m` *module*, whose `--into` is a folder that exists."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument(
        "--into",
        type=_folder,
        default=_RESULTS,
        help="folder for the results, made if it is not there [benches/results]",
    )
    return made


def _folder(text: str) -> Path:
    path = Path(text)
    path.mkdir(parents=True, exist_ok=True)
    return path
