"""The life of a server: which action is allowed when, and the states each passes through.

The sequences are those seen on Nova 33 (2026.1) with its fake driver, watched every 20 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from simulator.compute.model import Power, Server, Step

Op = Literal[
    "spawn", "power_off", "power_on", "reboot", "reboot_hard", "pause", "unpause",
    "suspend", "resume", "destroy",
]  # fmt: skip

NO_VALID_HOST = "No valid host was found. There are not enough hosts available."
EXHAUSTED = (
    "Exceeded maximum number of retries. Exhausted all hosts available for retrying build "
    "failures for instance {id}."
)
HANG = 10.0**9  # seconds: for ever


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that each operation takes."""

    build: float = 1.0
    stop: float = 0.2
    start: float = 0.2
    reboot: float = 0.3
    pause: float = 0.1
    unpause: float = 0.1
    suspend: float = 0.15
    resume: float = 0.15
    delete: float = 0.3


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a build ends: `ok`; `no_host` and `retries` in ERROR; `hang` never. `seconds` is added."""

    kind: Literal["ok", "no_host", "retries", "hang"] = "ok"
    fault_message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Move:
    """One action: from which vm_states, through which tasks, to what."""

    verb: str  # as os-instance-actions and the 409 call it
    op: Op
    timing: str
    allowed: frozenset[str]
    tasks: tuple[str, ...]
    vm_state: str
    power: Power
    busy: frozenset[str] = frozenset({""})  # task states in which it may begin


_REBOOTABLE = frozenset(
    ["", "rebooting", "reboot_pending", "reboot_started", "resuming", "rebooting_hard",
     "unpausing", "pausing", "suspending"]
)  # fmt: skip
_ALL = frozenset({"active", "stopped", "paused", "suspended", "error"})

MOVES: Mapping[str, Move] = {
    "os-stop": Move("stop", "power_off", "stop", frozenset({"active", "error"}),
                    ("powering-off",), "stopped", Power.SHUTDOWN),
    "os-start": Move("start", "power_on", "start", frozenset({"stopped"}),
                     ("powering-on",), "active", Power.RUNNING),
    "reboot:SOFT": Move("reboot", "reboot", "reboot", frozenset({"active"}),
                        ("rebooting", "reboot_pending", "reboot_started"), "active",
                        Power.RUNNING),
    "reboot:HARD": Move("reboot", "reboot_hard", "reboot", _ALL,
                        ("rebooting_hard", "reboot_pending_hard", "reboot_started_hard"),
                        "active", Power.RUNNING,
                        _REBOOTABLE),
    "pause": Move("pause", "pause", "pause", frozenset({"active"}),
                  ("pausing",), "paused", Power.PAUSED),
    "unpause": Move("unpause", "unpause", "unpause", frozenset({"paused"}),
                    ("unpausing",), "active", Power.RUNNING),
    "suspend": Move("suspend", "suspend", "suspend", frozenset({"active"}),
                    ("suspending",), "suspended", Power.SUSPENDED),
    "resume": Move("resume", "resume", "resume", frozenset({"suspended"}),
                   ("resuming",), "active", Power.RUNNING),
}  # fmt: skip


def refusal(server: Server, move: Move) -> str | None:
    """Why Nova would answer 409, or None; in the order in which nova.compute.api looks.

    Only start and stop look at the host first.
    """
    if move.verb in {"start", "stop"} and not server.host:
        return f"Instance {server.id} is not ready"
    attr = ""
    if server.vm_state not in move.allowed:
        attr = f"vm_state {server.vm_state}"
    elif server.task_state not in move.busy:
        attr = f"task_state {server.task_state}"
    if attr:
        return f"Cannot '{move.verb}' instance {server.id} while it is in {attr}"
    if server.launched is None:
        return f"Instance {server.id} is in an invalid state for '{move.verb}'"
    return None


# The fake hypervisor of the real control plane delays these for a bare `fake:delay`.
_DELAYED = frozenset({"spawn", "power_off", "destroy"})


def delay_of(server: Server, op: Op) -> float:
    """Seconds that the server's metadata add: `fake:delay:OP`, else `fake:delay`."""
    default = server.metadata.get("fake:delay", "0") if op in _DELAYED else "0"
    try:
        return max(0.0, float(server.metadata.get(f"fake:delay:{op}", default)))
    except ValueError:
        return 0.0


def fails(server: Server, op: Op) -> bool:
    """Whether the server's metadata ask this operation to fail: `fake:fail=OP[,OP]`."""
    asked = server.metadata.get("fake:fail", "").split(",")
    return op in (word.strip() for word in asked)


def seconds_of(timing: Timing, name: str) -> float:
    """The seconds an operation takes."""
    seconds: float = {
        "build": timing.build, "stop": timing.stop, "start": timing.start,
        "reboot": timing.reboot, "pause": timing.pause, "unpause": timing.unpause,
        "suspend": timing.suspend, "resume": timing.resume, "delete": timing.delete,
    }[name]  # fmt: skip
    return seconds


def plan_move(server: Server, move: Move, timing: Timing, now: float) -> list[Step]:
    """The steps of an action; the first is at once."""
    end = now + seconds_of(timing, move.timing) + delay_of(server, move.op)
    span = (end - now) / len(move.tasks)
    steps = [Step(now + span * i, task) for i, task in enumerate(move.tasks)]
    if fails(server, move.op):
        # Nova gives the task back and leaves vm_state; the fault shows only in the action.
        failure = f"fake:fail asked {move.op} to fail"
        return [*steps, Step(end, "", effect="fault", message=failure)]
    return [*steps, Step(end, "", move.vm_state, move.power)]


def plan_build(server: Server, outcome: Outcome, timing: Timing, now: float) -> list[Step]:
    """Scheduling (no host) → null, placed → networking → spawning → active, or a fault."""
    build = timing.build
    end = now + build + outcome.seconds + delay_of(server, "spawn")
    if outcome.kind == "no_host":
        message = outcome.fault_message or NO_VALID_HOST
        return [Step(now + build * 0.3, "", "error", effect="fail", message=message)]
    steps = [
        Step(now + build * 0.2, "", effect="place"),
        Step(now + build * 0.3, "networking"),
        Step(now + build * 0.5, "spawning"),
    ]
    if outcome.kind == "hang":
        return steps
    if outcome.kind == "retries" or fails(server, "spawn"):
        message = outcome.fault_message or EXHAUSTED.format(id=server.id)
        again = Step(end, "scheduling", effect="unplace")
        return [*steps, again, replace(again, due=end, task_state="", vm_state="error",
                                       effect="fail", message=message)]  # fmt: skip
    return [*steps, Step(end, "", "active", Power.RUNNING, effect="launch")]


def plan_delete(server: Server, timing: Timing, now: float) -> list[Step]:
    """Deleting → deleted; at once where no host has it.

    One that is spawning is first made (for a moment ACTIVE, with no task), then deleted.
    """
    gone = Step(now, "", "deleted", Power.NOSTATE, effect="delete")
    if not server.host:
        return [gone]
    begin, steps = now, [Step(now, "deleting")]
    if server.vm_state == "building" and server.plan:
        begin = max(now, server.plan[-1].due)
        steps.append(Step(begin, "", "active", Power.RUNNING, effect="launch"))
    end = begin + timing.delete + delay_of(server, "destroy")
    if fails(server, "destroy"):
        words = "fake:fail asked destroy to fail"
        return [*steps, Step(end, "", "error", effect="fault", message=words)]
    return [*steps, replace(gone, due=end)]
