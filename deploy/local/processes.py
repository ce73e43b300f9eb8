"""Child processes that never outlive the process that started them."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

# The kernel signals an orphan when the *thread* that forked it ends, so one thread that
# lives as long as this process forks them all.
_SPAWNER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
# Below the kernel's ephemeral range (32768 and up): no outgoing connection takes the port while
# its server is down, and a client that knocks again and again cannot connect to itself.
_PORTS: Final = range(20_000, 32_000)
_handed_out: set[int] = set()


class StartError(RuntimeError):
    """A process ended, or was not ready in time; the message holds the end of its log."""


def free_port() -> int:
    """A loopback TCP port that is free now and that this process has not handed out before."""
    for port in random.sample(_PORTS, 200):
        if port in _handed_out:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _handed_out.add(port)
            return port
    raise StartError("200 random loopback ports between 20000 and 32000 were all taken")


class Child:
    """A program in a process group of its own, whose output goes to `log`.

    It may be started, stopped and killed any number of times. Where `setpriv` (util-linux) is
    installed, the kernel kills it when this process dies, however that happens.
    `unprivileged` runs it as `nobody` where this process is root (PostgreSQL refuses root).
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        unprivileged: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self._argv = [*leash(unprivileged=unprivileged), *argv]
        self._environment = None if environment is None else dict(environment)
        self._folder = folder
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the last run ended (negative: by that signal); None while it runs or before."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Run it, unless it runs."""
        if not self.alive:
            self._process = _SPAWNER.submit(self._spawn).result()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )

    def ask_to_stop(self) -> None:
        """Send the stop signal without waiting, so that several children drain together."""
        if self._process is not None and self.alive:
            self._process.send_signal(self._stop_signal)

    def pause(self) -> None:
        """Stop its clock (SIGSTOP): it holds on to all it has and does nothing."""
        if self._process is not None and self.alive:
            os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT), as if no time had passed."""
        if self._process is not None and self.alive:
            os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self, grace: float = 10.0) -> None:
        """Ask it to end, wait up to `grace` seconds, then kill what is left of its group."""
        self.ask_to_stop()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Return once `ready()`; StartError when it ended first or `timeout` seconds passed."""
        done = wait_until(lambda: not self.alive or ready(), timeout)
        if not self.alive:
            raise StartError(f"{self.name} ended with {self.exit_code}:\n{self.tail()}")
        if not done:
            raise StartError(f"{self.name} not ready after {timeout:.0f} s:\n{self.tail()}")


def wait_until(ready: Callable[[], bool], timeout: float, pause: float = 0.05) -> bool:
    """Ask `ready` every `pause` seconds for up to `timeout`; whether it came true."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def leash(*, unprivileged: bool = False) -> list[str]:
    """The words before a command that tie it to this process's life.

    As `nobody` it keeps the right to pass closed folders (a clone under /root), for want of which
    others open such folders to everyone.
    """
    setpriv = shutil.which("setpriv")
    if unprivileged and os.geteuid() == 0:
        if setpriv is None:
            raise StartError("running as root needs setpriv (apt-get install util-linux)")
        who = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        capabilities = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        return [setpriv, *who, *capabilities, "--pdeathsig=KILL"]
    return [setpriv, "--pdeathsig=KILL"] if setpriv is not None else []
