"""What the gateway's tests share: a catalog, and the messages that other services would say."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx

from chassis.ids import new_id
from chassis.testing import hear, said
from contracts.catalog.events import Flavor, Image, KeyPair, Network
from contracts.message import Body, Message
from contracts.operation.events import Issued, Started, Succeeded
from contracts.topics import AUDIT_EVENTS, topic_of
from contracts.vm.events import Changed
from contracts.vm.states import VmSnapshot, VmState
from services.gateway.context import Gateway

ADMIN_KEY = "hk_admin000_" + "a" * 43
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SMALL = Flavor(id="f-1", name="m1.small", vcpus=1, ram_mb=2048, disk_gb=20)
DEBIAN = Image(id="i-1", name="debian-12", status="active")
OLD = Image(id="i-2", name="debian-9", status="deactivated")
PRIVATE = Network(id="n-1", name="private")
PUBLIC = Network(id="n-2", name="public", external=True)
LAPTOP = KeyPair(id="laptop", name="laptop")
CATALOG: tuple[Body, ...] = (SMALL, DEBIAN, OLD, PRIVATE, PUBLIC, LAPTOP)
CREATE: dict[str, Any] = {"name": "web-1", "flavor": "m1.small", "image": "debian-12"}


@dataclass(frozen=True)
class Clients:
    """One client per kind of caller."""

    admin: httpx.AsyncClient
    operator: httpx.AsyncClient
    viewer: httpx.AsyncClient
    stranger: httpx.AsyncClient
    nobody: httpx.AsyncClient


async def hear_catalog(gateway: Gateway, *items: Body, account: str = "simulator") -> None:
    """Have the gateway hear what sync says of an account."""
    for item in items:
        await hear(gateway.service, told(item, subject=account, account=account))


def told(
    data: Body,
    *,
    subject: str,
    account: str = "simulator",
    operation_id: UUID | None = None,
    project_id: str = "demo",
    time: datetime = NOW,
) -> Message[Body]:
    """A message of another service."""
    return Message(
        id=new_id(),
        source="hostler/test",
        time=time,
        subject=subject,
        project_id=project_id,
        account=account,
        actor="cloud",
        operation_id=operation_id,
        data=data,
    )


async def commanded(gateway: Gateway) -> list[Message[Body]]:
    """What was said since the last time, but for what the audit alone is told."""
    told = await said(gateway.database)
    return [each for each in told if topic_of(type(each.data)) is not AUDIT_EVENTS]


def changed(vm_id: str, version: int, state: VmState, **fields: Any) -> Message[Body]:
    """What sync says when it sees a VM in a state."""
    vm = VmSnapshot.model_validate({"server_id": "s-1", "name": "web-1", "state": state} | fields)
    data = Changed(origin="hostler", old={}, new={}, version=version, observed_at=NOW, vm=vm)
    return told(data, subject=vm_id)


def going(operation: dict[str, Any]) -> list[Message[Body]]:
    """What the provisioner says while an operation goes well, up to its end."""
    command = operation["command"]
    steps: tuple[Body, ...] = (
        Started(command=command, attempt=1),
        Issued(command=command, server_id="s-1", called_at=NOW),
        Succeeded(command=command, server_id="s-1"),
    )
    return [
        told(step, subject=operation["vm_id"], operation_id=UUID(operation["id"])) for step in steps
    ]


async def create(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Ask for a VM; the operation."""
    answer = await client.post("/v1/vms", json=CREATE | fields)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def make_active(gateway: Gateway, client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """A VM that has been created; as the API shows it."""
    operation = await create(client, **fields)
    seen = changed(operation["vm_id"], 1, VmState.ACTIVE, **{"name": "web-1"} | fields_of(fields))
    started, issued, succeeded = going(operation)
    await hear(gateway.service, started, issued, seen, succeeded)
    return (await client.get(f"/v1/vms/{operation['vm_id']}")).json()


def fields_of(asked: dict[str, Any]) -> dict[str, Any]:
    """What of a create shows in a snapshot."""
    return {k: v for k, v in asked.items() if k in {"name", "tags", "metadata", "description"}} | {
        "flavor": "m1.small",
        "image": "i-1",
    }
