"""The program `rls`, also as `python -m rls`."""

import sys

from rls.early_signals import hold


def main() -> None:
    """Run the command that the arguments name."""
    if sys.argv[1:2] == ["serve"]:
        hold()
    from rls.cli import main as run  # noqa: PLC0415 - it takes long, and signals must be held by then

    run()


if __name__ == "__main__":
    main()
