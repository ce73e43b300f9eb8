"""What Nova keeps about a server, and the steps by which one changes in time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

Effect = Literal["", "place", "unplace", "launch", "fail", "fault", "delete"]


class Power(IntEnum):
    """Nova's power states."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    SUSPENDED = 7


@dataclass(slots=True)
class Step:
    """One change that happens to a server at `due`; None leaves a field as it is.

    `task_state` is always set: "" is Nova's null.
    """

    due: float
    task_state: str
    vm_state: str | None = None
    power_state: int | None = None
    effect: Effect = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Flavor:
    """A size of server; `ram` in MiB, `disk` in GiB."""

    id: str
    name: str
    vcpus: int
    ram: int
    disk: int


@dataclass(slots=True)
class Fault:
    """Why a server is in ERROR, as Nova shows it."""

    message: str
    code: int
    created: float


@dataclass(slots=True)
class Event:
    """One step of an action inside Nova."""

    event: str
    start: float
    finish: float | None = None
    result: str | None = None


@dataclass(slots=True)
class Action:
    """One line of os-instance-actions."""

    action: str
    request_id: str
    global_id: str | None
    user_id: str
    project_id: str
    start: float
    updated: float
    message: str | None = None
    events: list[Event] = field(default_factory=list[Event])


@dataclass(frozen=True, slots=True)
class Nic:
    """One interface that was asked for: a port of the caller's, or a network to make one on."""

    network_id: str
    port_id: str | None = None
    fixed_ip: str | None = None


@dataclass(slots=True)
class Server:
    """One server. Times are seconds since the epoch; `seq` orders by creation."""

    id: str
    seq: int
    name: str
    hostname: str
    project_id: str
    user_id: str
    flavor: Flavor
    image_id: str
    image_properties: dict[str, str]
    created: float
    updated: float
    description: str | None = None
    vm_state: str = "building"
    task_state: str = "scheduling"
    power_state: int = Power.NOSTATE
    host: str = ""
    zone: str | None = None  # asked for
    key_name: str | None = None
    user_data: str | None = None
    config_drive: str = ""
    disk_config: str = "MANUAL"
    access_ipv4: str = ""
    access_ipv6: str = ""
    locked: bool = False
    locked_reason: str | None = None
    launched: float | None = None
    terminated: float | None = None
    deleted: bool = False
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    tags: list[str] = field(default_factory=list[str])
    trusted_certs: list[str] | None = None
    hints: dict[str, object] = field(default_factory=dict[str, object])
    security_groups: list[str] = field(default_factory=list[str])
    reservation_id: str = ""
    nics: list[Nic] = field(default_factory=list[Nic])
    volumes: list[str] = field(default_factory=list[str])
    fault: Fault | None = None
    actions: list[Action] = field(default_factory=list[Action])
    plan: list[Step] = field(default_factory=list[Step])
    epoch: int = 0  # moves when a plan takes another's place

    @property
    def host_id(self) -> str:
        """The host's name as a tenant sees it: hashed with the project (nova.utils)."""
        if not self.host:
            return ""
        return hashlib.sha224(f"{self.project_id}{self.host}".encode()).hexdigest()


_STATUS = {
    "active": "ACTIVE",
    "building": "BUILD",
    "stopped": "SHUTOFF",
    "paused": "PAUSED",
    "suspended": "SUSPENDED",
    "error": "ERROR",
    "deleted": "DELETED",
}
_BUSY = {
    "rebooting": "REBOOT",
    "reboot_pending": "REBOOT",
    "reboot_started": "REBOOT",
    "rebooting_hard": "HARD_REBOOT",
    "reboot_pending_hard": "HARD_REBOOT",
    "reboot_started_hard": "HARD_REBOOT",
}
STATUSES = frozenset(_STATUS.values()) | frozenset(_BUSY.values())
# What Nova knows beside: a filter by one of these is right, and finds nothing here.
OTHER_STATUSES = frozenset(
    [
        "REBUILD",
        "RESIZE",
        "VERIFY_RESIZE",
        "REVERT_RESIZE",
        "MIGRATING",
        "PASSWORD",
        "RESCUE",
        "SOFT_DELETED",
        "SHELVED",
        "SHELVED_OFFLOADED",
    ]
)


def status_of(server: Server) -> str:
    """The `status` a client sees.

    Only an active server shows a reboot in it: one that is stopped, and started by a hard
    reboot, stays SHUTOFF until it runs (nova.api.openstack.common).
    """
    if server.deleted:
        return "DELETED"
    if server.vm_state == "active" and server.task_state in _BUSY:
        return _BUSY[server.task_state]
    return _STATUS[server.vm_state]
