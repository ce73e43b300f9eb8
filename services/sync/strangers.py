"""Servers that are no VM of Hostler's: said when they come, differ, go or become a VM."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.among import among
from chassis.database import excluded, insert
from chassis.ids import new_id
from chassis.leases import Clock
from chassis.outbox import say
from contracts.inventory.events import UnmanagedServer
from contracts.message import Body, Message
from contracts.vm.states import VmSnapshot, VmState
from drivers.base import Seen
from services.sync.drift import SILENT, canonical, digest
from services.sync.holding import guarded
from services.sync.portions import portions
from services.sync.tables import STRANGERS, Stranger
from services.sync.watching import Watching


@dataclass(frozen=True)
class Strange:
    """What an answer shows of strangers that was not said: as they are, and how they ended."""

    there: Mapping[str, VmSnapshot] = field(default_factory=dict[str, VmSnapshot])
    gone: Mapping[str, VmSnapshot] = field(default_factory=dict[str, VmSnapshot])

    def __bool__(self) -> bool:
        return bool(self.there or self.gone)


async def unsaid(session: AsyncSession, account: str, servers: Sequence[Seen]) -> Strange:
    """What of these servers, all strangers, is not said yet. Only reads.

    A cloud in trouble may show a server without its mark, in the state `unknown`: that is nobody's.
    """
    shown = {
        s.snapshot.server_id: canonical(s.snapshot)
        for s in servers
        if s.snapshot.server_id and s.snapshot.state is not VmState.UNKNOWN
    }
    if not shown:
        return Strange()
    said = await _said(session, account, shown)
    living = {i: vm for i, vm in shown.items() if vm.state is not VmState.DELETED}
    return Strange(
        there={i: vm for i, vm in living.items() if said.get(i) != _print(vm)},
        gone={i: shown[i] for i in said.keys() - living.keys()},
    )


async def record(session: AsyncSession, account: str, strange: Strange, clock: Clock) -> None:
    """Write and say it."""
    rows = [
        {"account": account, "server_id": server_id, "digest": _print(vm)}
        for server_id, vm in strange.there.items()
    ]
    if rows:
        upsert = insert(session, STRANGERS).on_conflict_do_update(
            index_elements=["account", "server_id"], set_=excluded("digest")
        )
        await session.execute(upsert, rows)
    await _forget(session, account, strange.gone.keys())
    await _say(session, account, strange, clock)


async def become_vms(
    session: AsyncSession, account: str, servers: Mapping[str, VmSnapshot | None], clock: Clock
) -> None:
    """Strangers no more: servers that a VM has now, with what is known of them."""
    known = await _said(session, account, servers) if servers else {}
    gone = {i: servers[i] or VmSnapshot(server_id=i, state=VmState.UNKNOWN) for i in known}
    if gone:
        await record(session, account, Strange(gone=gone), clock)


async def forget_unseen(watching: Watching, unseen: Collection[str]) -> None:
    """Strangers that a complete list did not show are there no more."""
    for part in portions(sorted(unseen)):
        async with guarded(watching.lease) as session:
            left = await _said(session, watching.account, part)
            gone = {i: VmSnapshot(server_id=i, state=VmState.MISSING) for i in left}
            await record(session, watching.account, Strange(gone=gone), watching.clock)


def without_moves(vm: VmSnapshot) -> VmSnapshot:
    """What is told of a stranger, and nothing that alone is no reason to tell it again."""
    return vm.model_copy(update=dict.fromkeys(SILENT))


def _print(vm: VmSnapshot) -> str:
    return digest(without_moves(vm))


async def _said(session: AsyncSession, account: str, server_ids: Collection[str]) -> dict[str, str]:
    mine = Stranger.account == account, among(Stranger.server_id, server_ids)
    found = await session.execute(select(Stranger.server_id, Stranger.digest).where(*mine))
    return dict(found.tuples().all())


async def _forget(session: AsyncSession, account: str, server_ids: Collection[str]) -> None:
    if server_ids:
        mine = Stranger.account == account, among(Stranger.server_id, server_ids)
        await session.execute(delete(Stranger).where(*mine))


async def _say(session: AsyncSession, account: str, strange: Strange, clock: Clock) -> None:
    events = [
        *(UnmanagedServer(server_id=i, vm=vm) for i, vm in strange.there.items()),
        *(UnmanagedServer(server_id=i, vm=vm, gone=True) for i, vm in strange.gone.items()),
    ]
    if events:
        await say(session, *(_message(account, event, clock) for event in events))


def _message(account: str, event: UnmanagedServer, clock: Clock) -> Message[Body]:
    return Message[Body](
        id=new_id(),
        source="hostler/sync",
        time=clock(),
        subject=f"{account}/server/{event.server_id}",
        account=account,
        actor="cloud",
        data=event,
    )
