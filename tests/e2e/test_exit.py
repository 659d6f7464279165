"""What the demo and the tour do with a signal."""

import signal
import subprocess
import sys

import pytest

_IN_A_DESTRUCTOR = """\
import signal, time
from examples.mesh.processes import exit_on_signals

class Dying:
    def __del__(self):
        signal.raise_signal({number})

exit_on_signals()
Dying()
time.sleep(20)
print("it went on")
"""


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [(signal.SIGTERM, 143, ""), (signal.SIGHUP, 129, ""), (signal.SIGINT, -2, "KeyboardInterrupt\n")],
)
def test_a_signal_that_comes_while_a_destructor_runs_is_not_lost(number, status, says):
    command = [sys.executable, "-c", _IN_A_DESTRUCTOR.format(number=int(number))]

    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ran.returncode, ran.stdout) == (status, "")
    assert ran.stderr.endswith(says)
    assert bool(ran.stderr) is bool(says)
