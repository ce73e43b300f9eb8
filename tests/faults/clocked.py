"""`python -m tests.faults.clocked services.NAME FILE`: a service whose clock a file moves.

FILE holds seconds by which its clock is ahead (or behind, below 0); it is read again and again.
"""

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path

from fastapi import FastAPI

from chassis.leases import Clock
from chassis.service import Service, main
from contracts.message import utc_now

READ_EVERY = 0.2


def clock_of(file: Path) -> Clock:
    """The wall clock, moved by what the file says."""
    read_at, offset = float("-inf"), timedelta()

    def now() -> datetime:
        nonlocal read_at, offset
        if time.monotonic() - read_at > READ_EVERY:
            read_at = time.monotonic()
            offset = timedelta(seconds=float(file.read_text() or 0)) if file.exists() else offset
        return utc_now() + offset

    return now


def built(module: str, clock: Clock) -> tuple[Service, FastAPI]:
    """The service as the environment says, on this clock."""
    build: Callable[..., object] = import_module(f"{module}.app").build
    made = build(clock=clock)
    if isinstance(made, Service):
        return made, made.app(openapi_url=None)
    service, app = getattr(made, "service", None), getattr(made, "app", None)
    assert isinstance(service, Service)
    assert isinstance(app, FastAPI)
    return service, app


if __name__ == "__main__":
    name, file = sys.argv[1:]
    main(partial(built, name, clock_of(Path(file))))
