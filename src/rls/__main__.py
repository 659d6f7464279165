"""The program `rls`, also as `python -m rls`."""

import os
import sys

from rls.early_signals import hold


def main() -> None:
    """Run the command that the arguments name."""
    _open_standard_streams()
    if sys.argv[1:2] == ["serve"]:
        hold()
    from rls.cli import main as run  # noqa: PLC0415 - it takes long, and signals must be held by then

    run()


def _open_standard_streams() -> None:
    """Open what the caller has closed: a socket that got the number of stdout or stderr would be written to."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    while nowhere < 3:
        nowhere = os.dup(nowhere)
    os.close(nowhere)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - for as long as the process lives


if __name__ == "__main__":
    main()
