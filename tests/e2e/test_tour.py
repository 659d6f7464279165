"""`make mesh`, as its Makefile calls it, without a terminal."""

import re
import signal
import subprocess
import sys

import pytest

from examples.mesh.processes import Process, wait_for
from tests.e2e.mesh import no_process_in
from tests.redis_server import redis_binary

WHO_GOT_THROUGH = {
    "acme": (13, 10, 3, "company_id"),
    "globex": (12, 12, 0, "-"),
    "127.0.0.2": (6, 4, 2, "remote_address"),
    "127.0.0.3": (3, 3, 0, "-"),
    "forged": (6, 4, 2, "remote_address"),
    "127.0.0.4": (2, 0, 2, "remote_address"),
}


@pytest.fixture(autouse=True)
def parts(users):
    """Envoy is needed, and Redis."""
    redis_binary()


def test_it_shows_who_is_limited_and_survives_the_loss_of_a_primary():
    command = [sys.executable, "-m", "tests.mesh"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=110, start_new_session=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in ran.stdout.splitlines() if line[:1] == "│"]
    assert {name: (*map(int, counts), rule) for name, *counts, rule, _ in rows} == WHO_GOT_THROUGH
    (before,) = re.findall(r"globex has (\d+) left", ran.stdout)
    (after,) = re.findall(r"had the counts: (\d+) left", ran.stdout)
    # Those that rls counted by itself came to Redis afterwards; the last one, that shows what is left, counts as well.
    (others,) = re.findall(r"Of the (\d+) requests in the meantime", ran.stdout)
    assert int(before) > int(after) >= int(before) - int(others) - 1
    for text in ("rule=company", "POST /users as forged: 403", "acme passes, with 100 an hour"):
        assert text in ran.stdout


def test_a_signal_stops_all_that_it_started(tmp_path):
    command = [sys.executable, "-m", "tests.mesh"]
    with Process("mesh", command, tmp_path / "log", new_group=True) as tour:
        tour.wait_until(lambda: "A request comes to" in tour.output(), "all runs", seconds=60)

        tour.send(signal.SIGTERM)

        assert tour.wait() == 128 + signal.SIGTERM
        wait_for(lambda: no_process_in(tour.pid), "all of its processes are gone")
