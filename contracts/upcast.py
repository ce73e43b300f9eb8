"""Old versions of messages, told only as the step to the next version.

A type whose schema changes in more than a new optional field gets a new name (`….v2`); what is
left of the old one is one function here, so that consumers know the newest version alone.
"""

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

STEPS: dict[str, tuple[str, Callable[[Json], Json]]] = {}
"""Old wire name → (next wire name, how its data is turned into the next one's)."""


def upcast(wire_name: str, data: Json) -> tuple[str, Json]:
    """The newest wire name and data that an old message stands for."""
    while wire_name in STEPS:
        wire_name, step = STEPS[wire_name]
        data = step(data)
    return wire_name, data
