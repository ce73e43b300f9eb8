"""`make demo`: one VM's whole life through the real services, as a timeline.

On a stack of its own, or on the one that HOSTLER_BASE_URL and HOSTLER_API_KEY name (its cloud: OS_CLOUD
and OS_CLIENT_CONFIG_FILE).
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from deploy.local.client import Client, DemoError
from deploy.local.journey import Journey
from deploy.local.kafka_jars import FetchError
from deploy.local.processes import StartError
from deploy.local.stack import Stack, local_folder
from deploy.local.timeline import CONSOLE, Timeline
from deploy.local.up import interrupt
from deploy.local.view import render

LOG_LINES: Final = 12


def main() -> int:
    """0 when everything was as promised; 1 with the reason, 130 after Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    timeline = Timeline()
    try:
        play_on_given(timeline) if "HOSTLER_BASE_URL" in os.environ else play_on_own(timeline)
    except KeyboardInterrupt:
        CONSOLE.print("interrupted")
        return 130
    except (DemoError, StartError, FetchError) as error:
        CONSOLE.print(f"\n[bold red]The demo failed:[/] {error}", markup=True)
        return 1
    CONSOLE.print(f"\n[bold green]All as promised[/] in {time.monotonic() - timeline.zero:.1f} s.")
    return 0


def play_on_given(timeline: Timeline) -> None:
    """On a stack that runs somewhere."""
    url, key = os.environ["HOSTLER_BASE_URL"], os.environ.get("HOSTLER_API_KEY")
    if not key:
        raise DemoError("HOSTLER_BASE_URL is set; HOSTLER_API_KEY has to be, too")
    file = os.environ.get("OS_CLIENT_CONFIG_FILE")
    cloud = os.environ.get("OS_CLOUD", "simulator")
    CONSOLE.print(f"[bold]Hostler demo[/] on {url}")
    _play(Client(url, key), timeline, cloud, Path(file) if file else None)


def play_on_own(timeline: Timeline) -> None:
    """On a stack that is started for it and ended after it."""
    stack = Stack(local_folder() / "demo", say=timeline.said)
    CONSOLE.print(f"[bold]Hostler demo[/] (logs: {stack.logs})")
    timeline.chapter("Start")
    try:
        stack.start()
        timeline.answered(f"Hostler is ready on {stack.base_url}")
        client = Client(stack.base_url, stack.api_key)
        _play(client, timeline, stack.cloud.name, stack.cloud.clouds_yaml)
    except DemoError as error:
        show_log(stack, error.culprit)
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        timeline.said("stopping everything")
        stack.stop()


def _play(client: Client, timeline: Timeline, cloud: str, clouds_yaml: Path | None) -> None:
    try:
        Journey(client, timeline, cloud, clouds_yaml).play()
    finally:
        client.close()


def show_log(stack: Stack, service: str) -> None:
    """The last lines of a service's log."""
    log = stack.logs / f"{service}.log"
    CONSOLE.print(f"\n[bold]The last lines of {log}[/]")
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    for line in lines[-LOG_LINES:]:
        CONSOLE.print(render(service, line))


if __name__ == "__main__":
    sys.exit(main())
