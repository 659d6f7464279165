"""`python -m tests.mesh`: start a mesh on this machine, show what it limits, stop it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from examples.mesh.processes import Missing, NotSo, exit_on_signals
from examples.tokens import Issuer
from tests.mesh.stage import stage
from tests.mesh.tour import tour


def main() -> None:
    parser = argparse.ArgumentParser(prog="make mesh", description="A mesh with limits, from the manifests in istio/.")
    parser.parse_args()
    # A pipe has no width; a table and a URL want one.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    exit_on_signals()
    issuer = Issuer()
    tokens = {name.upper(): issuer.token({"company_id": name, "sub": "ada"}) for name in ("acme", "globex")}
    tokens["FORGED"] = Issuer().token({"company_id": "globex", "sub": "ada"})
    try:
        with TemporaryDirectory(prefix="rls-mesh-") as folder, stage(Path(folder), issuer) as running:
            tour(console, running, tokens)
    except (Missing, NotSo) as error:
        sys.exit(f"mesh: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    console.print("All that was started is stopped.")


if __name__ == "__main__":
    main()
