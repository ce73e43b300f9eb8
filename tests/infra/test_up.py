"""`make up` and `make down`, from outside."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.processes import wait_until
from tests.infra.test_processes import is_running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Up:
    """`make up` on the embedded broker and SQLite, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "HOSTLER_"))}
        self.environment = kept | {
            "HOSTLER_LOCAL_FOLDER": str(folder),
            "HOSTLER_LOCAL_BROKER": "embedded",
            "HOSTLER_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/{{service}}.db",
        }
        self.output = folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.local.up"],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> None:
        done = wait_until(lambda: "Ctrl-C" in self.text() or self.process.poll() is not None, 200)
        assert done, self.text()
        assert self.process.poll() is None, self.text()

    def text(self) -> str:
        return self.output.read_text()

    def children(self) -> list[int]:
        """The pids of its children: each leads a session of its own."""
        me = f"/proc/{self.process.pid}/task"
        files = Path(me).glob("*/children")
        return [int(pid) for file in files for pid in file.read_text().split()]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started = Up(tmp_path)
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def test_the_three_curl_lines_work_when_pasted_and_down_ends_everything(up: Up) -> None:
    children = up.children()
    assert len(children) >= 6  # broker, cloud and four services
    lines = re.findall(r"^curl .*$", up.text(), re.MULTILINE)
    assert len(lines) == 3
    for said in (r"export HOSTLER_BASE_URL=http://\S+ HOSTLER_API_KEY=\S+", r"Kafka: +127\S+:\d+"):
        assert re.search(f"^{said}$", up.text(), re.MULTILINE)
    if shutil.which("curl"):
        flavors, created, listed = (paste(line) for line in lines)
        assert '"m1.nano"' in flavors
        assert '"state":"succeeded"' in created
        assert '"web-1"' in listed
    down = [sys.executable, "-m", "deploy.local.down"]
    subprocess.run(down, env=up.environment, check=True, timeout=100)  # noqa: S603
    assert up.process.wait(10) == 0
    assert not [pid for pid in children if is_running(pid)]


def test_nothing_survives_when_the_supervisor_is_killed(up: Up) -> None:
    children = up.children()
    up.process.send_signal(signal.SIGKILL)
    up.process.wait()
    assert wait_until(lambda: not any(map(is_running, children)), 20)


def paste(line: str) -> str:
    shell = ["/bin/bash", "-c", line]
    return subprocess.check_output(shell, text=True)  # noqa: S603
