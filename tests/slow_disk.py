"""`rls` whose disk is slow while a file exists: `python -m tests.slow_disk FILE serve …`. A poll is late after two seconds."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rls import cli
from rls.app.loading import Loading
from rls.sources.disk import Disk

_SECONDS = 3.0
"""In time for the watchdog, which gives each operation five."""


def slow(method: Callable[..., Any], while_there: Path) -> Callable[..., Any]:
    def call(self: Disk, path: str) -> Any:
        if while_there.exists():
            time.sleep(_SECONDS)
        return method(self, path)

    return call


def main() -> None:
    file = Path(sys.argv.pop(1))
    for name in ("stat", "lstat", "names"):
        setattr(Disk, name, slow(getattr(Disk, name), file))
    defaults = Loading.__init__.__kwdefaults__
    assert defaults is not None
    defaults["late_seconds"] = 2.0
    cli.main()


if __name__ == "__main__":
    main()
