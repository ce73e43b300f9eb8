"""Whose a server or another resource is, as far as its mark and what sync knows can tell."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from contracts.vm.states import VmState
from drivers.base import Resource, Seen
from services.sync.drift import choose
from services.sync.orphans import Reason, Suspect
from services.sync.recording import Known, look_up, owners
from services.sync.tables import VMS, FormerServer, Vm
from services.sync.watching import Watching


async def owned_servers(session: AsyncSession, watching: Watching) -> set[str]:
    """The ids of the servers that living VMs of the account have: no orphans, whatever they show."""
    mine = VMS.c.account == watching.account, VMS.c.state != VmState.DELETED.value
    asked = select(VMS.c.server_id).where(*mine, VMS.c.server_id.is_not(None))
    return set(await session.scalars(asked))


async def suspect_servers(
    session: AsyncSession, watching: Watching, servers: Sequence[Seen]
) -> list[Suspect]:
    """Living servers with a mark that are no VM's: of a deleted one, second ones, of unknown ones."""
    marked = [s for s in servers if s.mark and s.snapshot.state is not VmState.DELETED]
    known = await look_up(session, watching.account, marked)
    rows = {row.vm_id: row for row in known if row.account == watching.account}
    projects = await _projects(session, rows)
    elsewhere = {row.vm_id for row in known} - rows.keys()
    owned = owners(known, watching.account).keys()
    found: list[Suspect] = []
    for seen in marked:
        if seen.mark is None or seen.snapshot.server_id in owned:
            continue
        vm_id, row = seen.mark.vm_id, rows.get(seen.mark.vm_id)
        if row is None and vm_id not in elsewhere and seen.mark.project_id in watching.projects:
            continue
        if reason := _reason(row, seen):
            found.append(_server(seen, vm_id, projects.get(vm_id, ""), reason))
    return found


def _reason(row: Known | None, seen: Seen) -> Reason | None:
    """Why a server that is not its VM's is an orphan; None: the VM has none, so it will be it."""
    if row is None:
        return "unknown_vm"
    if row.state is VmState.DELETED:
        return "vm_deleted"
    chosen, _surplus = choose(row.server_id, row.state, [seen], creating=False)
    return None if chosen is seen else "second_server"


def _server(seen: Seen, vm_id: UUID, project_id: str, reason: Reason) -> Suspect:
    return Suspect(
        kind="server",
        id=seen.snapshot.server_id or "",
        name=seen.snapshot.name,
        vm_id=vm_id,
        project_id=project_id,
        reason=reason,
        proven=reason != "unknown_vm",
    )


@dataclass(frozen=True)
class Owner:
    """A VM that has, or had, a resource or its server."""

    vm_id: UUID
    project_id: str
    lives: bool


async def suspect_resources(
    session: AsyncSession, watching: Watching, resources: Sequence[Resource], there: Collection[str]
) -> list[Suspect]:
    """Ports, volumes and floating IPs of VMs that are deleted or unknown, or of servers of such.

    What belongs to a server that is `there` is used: it goes, or stays, with that one.
    """
    unused = [r for r in resources if r.server_id not in there]
    by_mark = await _vms(session, watching.account, {r.mark.vm_id for r in unused if r.mark})
    servers = {r.server_id for r in unused if r.server_id and not r.mark}
    by_server = await _had(session, watching.account, servers)
    found: list[Suspect] = []
    for resource in unused:
        if resource.mark is not None:
            found += _marked(resource, resource.mark.vm_id, by_mark.get(resource.mark.vm_id))
        elif owner := by_server.get(resource.server_id or ""):
            found.append(_left_behind(resource, owner))
    return found


def _marked(resource: Resource, vm_id: UUID, owner: Owner | None) -> list[Suspect]:
    if owner is not None and owner.lives:
        return []
    return [_resource(resource, vm_id, owner, "vm_deleted" if owner else "unknown_vm")]


def _left_behind(resource: Resource, owner: Owner) -> Suspect:
    """Its server was a VM's and is gone. No mark proves that it was made for that."""
    reason: Reason = "second_server" if owner.lives else "vm_deleted"
    return _resource(resource, owner.vm_id, owner, reason)


def _resource(resource: Resource, vm_id: UUID, owner: Owner | None, reason: Reason) -> Suspect:
    return Suspect(
        kind=resource.kind,
        id=resource.id,
        name=resource.name,
        vm_id=vm_id,
        project_id=owner.project_id if owner else "",
        reason=reason,
        proven=resource.mark is not None and owner is not None,
    )


async def _projects(session: AsyncSession, vm_ids: Collection[UUID]) -> Mapping[UUID, str]:
    asked = select(Vm.vm_id, Vm.project_id).where(among(Vm.vm_id, vm_ids))
    return dict((await session.execute(asked)).tuples().all())


async def _vms(
    session: AsyncSession, account: str, vm_ids: Collection[UUID]
) -> Mapping[UUID, Owner]:
    asked = select(Vm.vm_id, Vm.project_id, Vm.state).where(
        among(Vm.vm_id, vm_ids), Vm.account == account
    )
    rows = (await session.execute(asked)).tuples()
    return {i: Owner(i, project, state != VmState.DELETED) for i, project, state in rows}


async def _had(
    session: AsyncSession, account: str, server_ids: Collection[str]
) -> Mapping[str, Owner]:
    """Who had those servers: deleted VMs, and VMs that have another one now."""
    deleted = select(Vm.server_id, Vm.vm_id, Vm.project_id, Vm.state).where(
        Vm.account == account, among(Vm.server_id, server_ids), Vm.state == VmState.DELETED.value
    )
    former = (
        select(FormerServer.server_id, Vm.vm_id, Vm.project_id, Vm.state)
        .join(Vm, Vm.vm_id == FormerServer.vm_id)
        .where(FormerServer.account == account, among(FormerServer.server_id, server_ids))
    )
    rows = [
        *(await session.execute(former)).tuples(),
        *(await session.execute(deleted)).tuples(),
    ]
    return {s or "": Owner(i, project, state != VmState.DELETED) for s, i, project, state in rows}
