"""No process outlives the one that started it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.processes import Child, StartError, free_port, wait_until

# Says the pids of itself and of a grandchild, then waits; deaf to SIGTERM.
DEAF = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(600)
"""
SUPERVISOR = """
import sys, time
from pathlib import Path
from deploy.local.processes import Child
child = Child("sleeper", ["sh", "-c", "echo $$; exec sleep 600"], log=Path(sys.argv[1]))
child.start()
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    """A zombie that nobody has collected yet counts as ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def pids_in(log: Path) -> list[int]:
    assert wait_until(lambda: log.exists() and "\n" in log.read_text(), 30)
    return [int(word) for word in log.read_text().split()]


def test_a_child_that_ignores_sigterm_is_ended_with_all_its_children(tmp_path: Path) -> None:
    child = Child("deaf", [sys.executable, "-c", DEAF], log=tmp_path / "log")
    child.start()
    pids = pids_in(child.log)
    child.stop(grace=0.2)
    assert child.exit_code == -signal.SIGKILL
    assert wait_until(lambda: not any(map(is_running, pids)), 10)


def test_a_child_that_drains_on_sigterm_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    script = (
        "import signal,sys; signal.signal(15, lambda *_: sys.exit(3)); print('up', flush=True);"
    )
    child = Child("good", [sys.executable, "-c", script + "signal.pause()"], log=tmp_path / "log")
    child.start()
    child.wait_until(lambda: "up" in child.tail(), 30)
    child.stop(grace=30)
    assert child.exit_code == 3


def test_a_child_dies_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", SUPERVISOR, str(log)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "."}) as supervisor:  # noqa: S603
        pids = pids_in(log)
        assert is_running(pids[0])
        supervisor.kill()
    assert wait_until(lambda: not is_running(pids[0]), 10)


def test_a_child_can_be_started_again_after_a_kill(tmp_path: Path) -> None:
    child = Child("sleeper", ["sleep", "600"], log=tmp_path / "log")
    child.start()
    first = child.pid
    child.kill()
    assert child.pid is None
    child.start()
    assert child.pid not in {None, first}
    child.kill()


def test_a_child_that_ends_before_it_is_ready_is_told_with_its_last_words(tmp_path: Path) -> None:
    child = Child(
        "broken", [sys.executable, "-c", "raise SystemExit('no such broker')"], log=tmp_path / "log"
    )
    child.start()
    with pytest.raises(StartError, match="no such broker"):
        child.wait_until(lambda: False, 30)


def test_ports_handed_out_are_all_different() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)
