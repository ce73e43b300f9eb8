"""Whether an orphan is Hostler's and nobody's: by what is known of its VM, then by the cloud."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.vm.states import PRESENT, VmState
from drivers.base import Driver, Inventories, Mark, Resource
from services.provisioner.tables import Made, Operation, Orphan, Server


@dataclass(frozen=True)
class Known:
    """What is known of an orphan's VM: its mark, what was made for it, and the server it keeps."""

    mark: Mark
    servers: frozenset[str]
    kept: str | None


@dataclass(frozen=True)
class Gone:
    """Its end was asked for before, and the cloud shows it no longer."""


async def known_of(session: AsyncSession, orphan: Orphan) -> Known | None:
    """None: its VM is not Hostler's to judge, is worked on, or lives without another server."""
    if orphan.vm_id is None or await _is_worked_on(session, orphan.vm_id):
        return None
    made = (await session.execute(select(Made).where(Made.vm_id == orphan.vm_id))).scalars().all()
    server = await session.get(Server, orphan.vm_id)
    if not made or server is None:
        return None
    mark = Mark(orphan.vm_id, made[0].project_id)
    its = frozenset(each.resource_id for each in made if each.resource_id is not None)
    if server.is_deleted:
        return Known(mark, its, None)
    is_second = orphan.kind == "server" and server.server_id not in {None, orphan.resource_id}
    return Known(mark, its, server.server_id) if is_second and server.state in PRESENT else None


async def _is_worked_on(session: AsyncSession, vm_id: UUID) -> bool:
    under_way = select(Operation.seq).where(Operation.vm_id == vm_id, Operation.ended_at.is_(None))
    return (await session.execute(under_way.limit(1))).first() is not None


async def look_for(driver: Driver, orphan: Orphan, known: Known) -> Resource | Gone | None:
    """What is to be removed, as the cloud shows it now; None: it is not proven to be nobody's."""
    if orphan.kind == "server":
        return await _server(driver, orphan, known)
    return await _resource(driver, orphan, known)


async def _server(driver: Driver, orphan: Orphan, known: Known) -> Resource | Gone | None:
    """Where the VM lives on, only while the server that is its own is in the same answer."""
    looked = await driver.find(known.mark)
    marked = {seen.snapshot.server_id: seen for seen in looked.servers}
    its = marked.get(orphan.resource_id)
    if its is None:
        return await _absent(driver, orphan)
    if its.mark is None or its.mark.vm_id != known.mark.vm_id:
        return None
    if known.kept is not None and known.kept not in marked:
        return None
    return Resource("server", orphan.resource_id, its.snapshot.name, its.mark, None)


async def _absent(driver: Driver, orphan: Orphan) -> Gone | None:
    """No server with the mark: gone, unless it is there without its mark."""
    if orphan.removing_since is None:
        return None
    there = (await driver.look(orphan.resource_id)).servers
    lives = any(seen.snapshot.state is not VmState.DELETED for seen in there)
    return None if lives else Gone()


async def _resource(driver: Driver, orphan: Orphan, known: Known) -> Resource | Gone | None:
    """What is attached to a server that is not the VM's has found an owner of its own."""
    if not isinstance(driver, Inventories):
        return None
    for resource in await driver.belongings(known.mark, None):
        if (resource.kind, resource.id) == (orphan.kind, orphan.resource_id):
            is_marked = resource.mark is not None and resource.mark.vm_id == known.mark.vm_id
            is_free = resource.server_id in {None, *known.servers}
            return resource if is_marked and is_free else None
    return None if orphan.removing_since is None else Gone()


async def end(driver: Driver, thing: Resource, request_id: str) -> None:
    """Ask for its end. Ends as a driver's method does."""
    if thing.kind == "server":
        await driver.delete(thing.id, request_id)
    elif isinstance(driver, Inventories):
        await driver.remove(thing, request_id)
