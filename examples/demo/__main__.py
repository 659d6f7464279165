"""`python -m examples.demo`: start all, send requests with curl, show what came back, stop all."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from rich.console import Console

from examples.demo import show
from examples.demo.clients import CLIENTS, Curl, Tally
from examples.mesh.envoy import Envoy, EnvoyConfig
from examples.mesh.processes import Missing, NotSo, exit_on_signals, sleep_until_signal, wait_for
from examples.mesh.servers import Rls, UserService
from examples.tokens import Issuer

RULES = Path(__file__).with_name("rules.yaml")
OPTIONS = ("--ietf-headers", "--problem-json", "--limited-by-header", "x-refused-by", "--drain-timeout", "0s")
MINUTE = 60
ENOUGH_SECONDS = 15
"""What the requests take at most, on a slow machine."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make demo", description="Companies and addresses being limited.")
    parser.add_argument("--keep", action="store_true", help="leave all running in the end, until Ctrl-C")
    arguments = parser.parse_args()
    # A pipe has no width; a table and a URL want one.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    exit_on_signals()
    try:
        with TemporaryDirectory(prefix="rls-demo-") as folder:
            demo(console, Path(folder), keep=arguments.keep)
    except (Missing, NotSo) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def demo(console: Console, folder: Path, *, keep: bool) -> None:
    """The demo, with the files of what it starts in *folder*."""
    issuer = Issuer()
    tokens = {client.variable: issuer.token({"company_id": client.company}) for client in CLIENTS if client.company}
    with UserService(folder) as users, Rls(RULES, folder, OPTIONS) as rls:
        access_log = folder / "access.log"
        config = EnvoyConfig(users=users.port, rls=[rls.port], jwks=issuer.jwks(), access_log=access_log)
        with Envoy(config, folder) as envoy:
            _introduce(console, users, rls, envoy)
            show.wait_for_a_full_window(console, MINUTE, ENOUGH_SECONDS, "minute")
            curl = Curl(f"http://127.0.0.1:{envoy.port}/users", tokens)
            if curl.missing:
                console.print("[bold]curl is not installed: Python sends what curl would have sent.[/]\n")
            tallies = [show.send(console, curl, client) for client in CLIENTS]
            _look_closer(console, curl, tallies[0], envoy)
            console.print(show.table(tallies))
            if keep:
                _keep(console, tokens)
    console.print("All that was started is stopped.")


def _introduce(console: Console, users: UserService, rls: Rls, envoy: Envoy) -> None:
    console.print(
        f"[bold]Envoy[/] on port {envoy.port} asks [bold]rls[/] on port {rls.port} about every request, ", end=""
    )
    console.print(f"before the [bold]user service[/] on port {users.port} gets it.\n")
    show.rules(console, RULES.read_text())


def _look_closer(console: Console, curl: Curl, tally: Tally, envoy: Envoy) -> None:
    """One more refusal, whole; and what Envoy logged of it."""
    console.rule("[bold]A refusal[/]: which rule, and when to come again", align="left", style="dim")
    show.command(console, curl.line(tally.client))
    (answer,) = curl.send(tally.client)
    tally.answers.append(answer)
    show.answer_whole(console, answer)
    console.print("Envoy's access log:")
    path = urlsplit(curl.url).path
    (refused,) = wait_for(
        lambda: [line for line in envoy.access_log() if line["path"] == path], "the refusal in the access log"
    )
    show.logged(console, refused)


def _keep(console: Console, tokens: dict[str, str]) -> None:
    try:
        console.print("\nAll is left running until Ctrl-C. For the lines above, in another terminal:\n")
        for variable, token in tokens.items():
            console.print(f"export {variable}={token}", markup=False, soft_wrap=True)
        sleep_until_signal()
    except KeyboardInterrupt:
        console.print()


if __name__ == "__main__":
    main()
