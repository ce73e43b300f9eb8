"""Nova's JSON of a server, and what it says in Hostler's words."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

from prometheus_client import Counter
from pydantic import BaseModel, Field, JsonValue, ValidationError

from contracts.vm.fields import MARK
from contracts.vm.states import Address, CloudWord, Fault, VmSnapshot, VmState
from drivers.base import Mark, Seen
from drivers.openstack.pages import Link, next_marker

_LOG = logging.getLogger(__name__)
_ODD = Counter("hostler_cloud_odd_servers", "Servers that could not be read and were left out.")
_VM_TAG = f"{MARK}vm:"
_PROJECT_TAG = f"{MARK}project:"

_GONE_STATUS = frozenset({"DELETED", "SOFT_DELETED"})
_BY_VM_STATE = {
    "active": VmState.ACTIVE,
    "building": VmState.BUILDING,
    "paused": VmState.PAUSED,
    "suspended": VmState.SUSPENDED,
    "stopped": VmState.STOPPED,
    "rescued": VmState.RESCUED,
    "resized": VmState.RESIZED,
    "shelved": VmState.SHELVED,
    "shelved_offloaded": VmState.SHELVED,
    "error": VmState.ERROR,
    "deleted": VmState.DELETED,
    "soft-delete": VmState.DELETED,
}
_BY_STATUS = {
    "ACTIVE": VmState.ACTIVE,
    "REBOOT": VmState.ACTIVE,
    "HARD_REBOOT": VmState.ACTIVE,
    "PASSWORD": VmState.ACTIVE,
    "REBUILD": VmState.ACTIVE,
    "MIGRATING": VmState.ACTIVE,
    "RESIZE": VmState.ACTIVE,
    "BUILD": VmState.BUILDING,
    "SHUTOFF": VmState.STOPPED,
    "PAUSED": VmState.PAUSED,
    "SUSPENDED": VmState.SUSPENDED,
    "SHELVED": VmState.SHELVED,
    "SHELVED_OFFLOADED": VmState.SHELVED,
    "RESCUE": VmState.RESCUED,
    "VERIFY_RESIZE": VmState.RESIZED,
    "REVERT_RESIZE": VmState.RESIZED,
    "ERROR": VmState.ERROR,
}
_TASK_OF_STATUS = {
    "REBOOT": "rebooting",
    "HARD_REBOOT": "rebooting_hard",
    "PASSWORD": "updating_password",
    "REBUILD": "rebuilding",
    "MIGRATING": "migrating",
    "RESIZE": "resize",
    "REVERT_RESIZE": "resize_reverting",
}


class _Address(BaseModel):
    addr: str
    version: int
    kind: str = Field("fixed", alias="OS-EXT-IPS:type")
    mac: str | None = Field(None, alias="OS-EXT-IPS-MAC:mac_addr")


class _Fault(BaseModel):
    code: int = 0
    message: str = ""
    created: datetime | None = None


class _Image(BaseModel):
    id: str


class _Flavor(BaseModel):
    original_name: str | None = None


class _Group(BaseModel):
    name: str


class Server(BaseModel):
    """What Nova says of one server (GET /servers/detail, microversion 2.79)."""

    id: CloudWord
    status: str = "UNKNOWN"
    name: CloudWord | None = None
    description: str | None = None
    vm_state: str | None = Field(None, alias="OS-EXT-STS:vm_state")
    task_state: str | None = Field(None, alias="OS-EXT-STS:task_state")
    availability_zone: str | None = Field(None, alias="OS-EXT-AZ:availability_zone")
    flavor: _Flavor | None = None
    image: _Image | str | None = None
    addresses: dict[str, list[_Address]] = Field(default_factory=dict)
    metadata: dict[str, str] = Field(default_factory=dict)
    tags: list[CloudWord] = Field(default_factory=list)
    key_name: str | None = None
    security_groups: list[_Group] = Field(default_factory=list[_Group])
    fault: _Fault | None = None
    created: datetime | None = None
    updated: datetime | None = None


class _Page(BaseModel):
    servers: list[Server]
    servers_links: list[Link] = Field(default_factory=list[Link])


class _RoughPage(BaseModel):
    servers: list[JsonValue]
    servers_links: list[Link] = Field(default_factory=list[Link])


class _One(BaseModel):
    server: Server


def read_page(content: bytes) -> tuple[list[Server], str | None]:
    """The servers of one page, and the marker of the next page.

    A server that cannot be read is logged, counted and left out. ValidationError if it is no page
    of servers at all.
    """
    try:
        page = _Page.model_validate_json(content)
        return page.servers, next_marker(page.servers_links)
    except ValidationError:
        rough = _RoughPage.model_validate_json(content)
        return list(_readable(rough.servers)), next_marker(rough.servers_links)


def _readable(items: Iterable[JsonValue]) -> Iterable[Server]:
    found = (readable(item) for item in items)
    return (server for server in found if server is not None)


def readable(item: object) -> Server | None:
    """The server that an item of a list's JSON is; None for one that is none, which is logged."""
    try:
        return Server.model_validate(item)
    except ValidationError as error:
        _ODD.inc()
        _LOG.warning(
            "left out a server that cannot be read: %s: %s", id_of(item)[:255], _problems(error)
        )
        return None


def id_of(item: object) -> str:
    """The id in an item of a list's JSON; "" if there is none."""
    found: object = cast("dict[str, object]", item).get("id") if isinstance(item, dict) else None
    return found if isinstance(found, str) else ""


def _problems(error: ValidationError) -> list[str]:
    """Where and what, without the values: user data and the like stay out of logs."""
    return [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]


def read_one(content: bytes) -> Server:
    """The server of a GET /servers/{id}; ValidationError if it is none."""
    return _One.model_validate_json(content).server


def seen(server: Server) -> Seen:
    """The server in Hostler's words, with whose it is."""
    return Seen(snapshot=_snapshot(server), mark=mark_in(server.tags))


def marking(mark: Mark) -> list[str]:
    """The tags that make a server the mark's."""
    return [vm_tag(mark), f"{_PROJECT_TAG}{mark.project_id}"]


def vm_tag(mark: Mark) -> str:
    """The tag by which a VM's server is found."""
    return f"{_VM_TAG}{mark.vm_id}"


def mark_in(tags: Sequence[str]) -> Mark | None:
    """Whose server it is by its tags; None unless they say the VM and the project."""
    vm = next((tag.removeprefix(_VM_TAG) for tag in tags if tag.startswith(_VM_TAG)), "")
    project = next((t.removeprefix(_PROJECT_TAG) for t in tags if t.startswith(_PROJECT_TAG)), "")
    return _mark(vm, project)


def metadata_filter(mark: Mark) -> dict[str, str]:
    """The item of a volume's metadata by which a VM's are found."""
    return {_VM_TAG.rstrip(":"): str(mark.vm_id)}


def mark_in_metadata(metadata: Mapping[str, str]) -> Mark | None:
    """Whose a volume is by its metadata; None unless they say the VM and the project."""
    vm, project = (metadata.get(name.rstrip(":"), "") for name in (_VM_TAG, _PROJECT_TAG))
    return _mark(vm, project)


def _mark(vm: str, project: str) -> Mark | None:
    if not vm or not project:
        return None
    try:
        return Mark(vm_id=UUID(vm), project_id=project)
    except ValueError:
        return None


def _state(server: Server) -> VmState:
    if server.status in _GONE_STATUS:
        return VmState.DELETED
    known = _BY_VM_STATE.get(server.vm_state or "")
    return known or _BY_STATUS.get(server.status, VmState.UNKNOWN)


def _snapshot(server: Server) -> VmSnapshot:
    return VmSnapshot(
        server_id=server.id,
        name=server.name or "",
        description=server.description,
        state=_state(server),
        task=server.task_state or _TASK_OF_STATUS.get(server.status),
        flavor=server.flavor.original_name if server.flavor else None,
        image=server.image.id if isinstance(server.image, _Image) else None,
        addresses=_addresses(server),
        metadata=server.metadata,
        tags=tuple(sorted(tag for tag in server.tags if not tag.startswith(MARK))),
        key_name=server.key_name,
        availability_zone=server.availability_zone or None,
        security_groups=tuple(sorted({group.name for group in server.security_groups})),
        fault=_fault(server.fault),
        created_at=server.created,
        updated_at=server.updated,
    )


def _addresses(server: Server) -> tuple[Address, ...]:
    """In an order of their own: Nova's changes from answer to answer."""
    found = [
        Address(network=network, address=a.addr, version=a.version, kind=a.kind, mac=a.mac)
        for network, addresses in server.addresses.items()
        for a in addresses
    ]
    return tuple(sorted(found, key=lambda a: (a.network, a.kind, a.version, a.address)))


def _fault(fault: _Fault | None) -> Fault | None:
    return Fault(code=fault.code, message=fault.message, at=fault.created) if fault else None
