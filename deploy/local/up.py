"""`make up`: the whole stack in the foreground until Ctrl-C, its logs as they come."""

import json
import os
import signal
import sys
import time
from types import FrameType
from typing import Final

from rich.console import Console

from deploy.local.catalog import choose
from deploy.local.client import Client, DemoError
from deploy.local.kafka_jars import FetchError
from deploy.local.processes import StartError
from deploy.local.stack import SERVICES, Stack, local_folder
from deploy.local.view import LogView

CONSOLE: Final = Console(highlight=False)


def main() -> int:
    """0 after Ctrl-C, SIGTERM or `make down`; 1 when a part does not start."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    stack = Stack(local_folder(), say=lambda line: CONSOLE.print(line, style="dim"))
    try:
        stack.start(fresh="HOSTLER_KEEP_DATA" not in os.environ)
        CONSOLE.print(greeting(stack), soft_wrap=True)
        watch(stack)
    except KeyboardInterrupt:
        CONSOLE.print("ending everything …")
    except (StartError, FetchError, DemoError) as error:
        CONSOLE.print(f"[bold red]not up:[/] {error}", soft_wrap=True)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C does not leave half of it
        stack.stop()
    return 0


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """Make any request to end the same as Ctrl-C."""
    raise KeyboardInterrupt


def watch(stack: Stack) -> None:
    """Show the services' logs; start again a service that ended by itself."""
    view = LogView(stack.logs, (*SERVICES, "simulator"))
    while True:
        for line in view.new_lines():
            CONSOLE.print(line, soft_wrap=True)
        for name, child in stack.ended().items():
            CONSOLE.print(f"[bold red]{name} ended with {child.exit_code}; it is started again[/]")
            stack.restart(name)
        time.sleep(0.2)


def greeting(stack: Stack) -> str:
    """The addresses, the key, and lines that work when pasted: an export and three curls."""
    client = Client(stack.base_url, stack.api_key)
    vm = json.dumps({"name": "web-1", **choose(client)})
    client.close()
    curl = f"curl -s -H 'X-API-Key: {stack.api_key}'"
    create = f"-H 'Prefer: wait=20' -H 'Content-Type: application/json' -d '{vm}'"
    return f"""
[bold]Hostler is up:[/] {stack.base_url} (docs: {stack.base_url}/docs)
API key: {stack.api_key}
Kafka:   {stack.kafka}
Logs:    {stack.logs}

export HOSTLER_BASE_URL={stack.base_url} HOSTLER_API_KEY={stack.api_key}

{curl} {stack.base_url}/v1/flavors
{curl} {create} {stack.base_url}/v1/vms
{curl} {stack.base_url}/v1/vms

Ctrl-C, or `make down` in another terminal, ends everything.
"""


if __name__ == "__main__":
    sys.exit(main())
