"""`python -m examples.screenshots [FOLDER]`: start a server with some load, and take the pictures of docs/admin-page.md."""

from __future__ import annotations

import argparse
import json
import math
import random
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import NamedTuple

from examples.mesh.http import ask
from examples.mesh.processes import Missing, NotSo, exit_on_signals, free_port
from examples.mesh.servers import Rls
from examples.mesh.valkey import Valkey
from examples.screenshots.browser import Browser, Tab

DOCS = Path(__file__).parents[2] / "docs"
RULES = Path(__file__).with_name("rules.yaml")
TOKEN = secrets.token_hex(16)
SECONDS = 110
"""Of load: the lines need points, of which there is one in five seconds."""
ACME = "#/tenant?domain=mesh&entry=company_id=acme"


class Picture(NamedTuple):
    """What to take.

    Attributes:
        name: Of the file.
        view: Behind the `#` of the address.
        text: Shown when it is ready.
        width: Of the window. A phone has two pixels for one.
        height: Of the window.
        dark: Whether colours are dark.
        before: Done before it is taken.
    """

    name: str
    view: str
    text: str
    width: int
    height: int
    dark: bool
    before: Callable[[Tab], None] = lambda _: None


def _ask_for_override(tab: Tab) -> None:
    tab.click("Override for…")
    tab.fill({"change-limit": "1500/minute", "change-for": "2h", "change-reason": "TICKET-7: sale until 18:00"})


PICTURES = (
    Picture("admin-page-now", "#/now", "company_id=acme", 1200, 900, dark=False),
    Picture("admin-page-rules", "#/rules", "checkout is slow", 1200, 760, dark=True),
    Picture("admin-page-override", ACME, "is refused", 1200, 760, dark=False, before=_ask_for_override),
    Picture(
        "admin-page-explain",
        "#/explain?domain=mesh&descriptor=company_id%3Dacme%2Cpath%3D/checkout",
        "command line",
        1200,
        940,
        dark=True,
    ),
    Picture("admin-page-phone", "#/now", "company_id=acme", 360, 760, dark=True),
    Picture("admin-page-phone-tenant", ACME, "is refused", 360, 760, dark=False),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make screenshots", description="Pictures of the admin page.")
    parser.add_argument("folder", nargs="?", type=Path, default=DOCS, help="where to write them")
    arguments = parser.parse_args()
    exit_on_signals()
    try:
        with TemporaryDirectory(prefix="rls-pictures-") as folder:
            take(Path(folder), arguments.folder)
    except (Missing, NotSo) as error:
        sys.exit(f"screenshots: {error}")


def take(folder: Path, into: Path) -> None:
    """Write all pictures; files of what runs go to *folder*."""
    (folder / "tokens").write_text(f"alice:{TOKEN}")
    rules = folder / "rules.yaml"
    rules.write_text(RULES.read_text().replace("requests_per_unit: 60", "requests_per_unit: 600"))
    admin = f"127.0.0.1:{free_port()}"
    options = ("--admin", admin, "--admin-token-file", str(folder / "tokens"))
    with (
        Valkey(folder) as valkey,
        Rls(rules, folder, ("--backend", valkey.url, "--backend-timeout", "1s", *options)) as server,
        Browser(folder) as browser,
        Load(server.http_port),
    ):
        time.sleep(SECONDS / 2)
        rules.write_text(RULES.read_text())
        _override(int(admin.rpartition(":")[2]))
        time.sleep(SECONDS / 2)
        for picture in PICTURES:
            is_phone = picture.width < 600
            tab = browser.open(
                f"http://{admin}/{picture.view}", width=picture.width, height=picture.height, dark=picture.dark
            )
            tab.shape(picture.width, picture.height, 2 if is_phone else 1)
            tab.until(f"document.body.textContent.includes({json.dumps(picture.text)})")
            time.sleep(5)  # until rates have two readings
            picture.before(tab)
            tab.picture(into / f"{picture.name}.png")
            tab.close()
            if tab.complaints:
                raise NotSo(f"{picture.name}: {tab.complaints}")


def _override(port: int) -> None:
    asked = {
        "domain": "mesh",
        "entries": [{"key": "company_id", "value": "globex"}],
        "limit": "2000/minute",
        "for": "3h",
        "reason": "TICKET-3",
    }
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    answer = ask(port, "/api/v1/overrides", headers, method="POST", body=json.dumps(asked).encode())
    if answer.status != 200:
        raise NotSo(f"the override was not set: {answer.body!r}")


class Load:
    """Companies that send more or less to *port*, until the context is left."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = Event()
        self._threads = [Thread(target=self._run, args=(number,), daemon=True) for number in range(4)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        dice = random.Random(number)
        companies = ("acme", "acme", "acme", "globex", "globex", "initech", "umbrella", "hooli", "stark")
        while not self._stop.wait(0.03 * (1.6 + math.sin(time.monotonic() / 14) + dice.random())):
            company = dice.choice(companies)
            entries = [("company_id", company)]
            if dice.random() < 0.3:
                entries.append(("path", dice.choice(("/checkout", "/reports/sales", "/search"))))
            if dice.random() < 0.15:
                entries = [("remote_address", f"203.0.113.{dice.randrange(1, 4)}")]
            pairs = [{"key": key, "value": value} for key, value in entries]
            asked = {"domain": "mesh", "descriptors": [{"entries": pairs}]}
            ask(self._port, "/json", method="POST", body=json.dumps(asked).encode())

    def __enter__(self) -> None:
        return None

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


if __name__ == "__main__":
    main()
