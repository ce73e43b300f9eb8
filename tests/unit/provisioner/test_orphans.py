"""Orphans are told, and removed only where it is wanted, proven, and seen again at the cloud."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from chassis.ids import new_id
from chassis.testing import Killed, hear
from contracts.inventory.events import OrphanFound, OrphanGone, OrphanRemoved, OrphanRemoving
from contracts.message import Body, Message
from contracts.vm.commands import Delete, Stop
from contracts.vm.states import VmState
from drivers.base import Mark, Resource
from services.provisioner.tables import Orphan
from tests.fakes.driver import BUSY
from tests.unit.provisioner.world import PROJECT, Bench

REMOVING, REMOVED = "orphan.removing.v1", "orphan.removed.v1"
HOUR = 3600
MINUTE = 60


@pytest.fixture
async def remover(database_url: str) -> AsyncIterator[Bench]:
    """A provisioner that removes orphans."""
    made = Bench(database_url, orphans="remove")
    yield made
    await made.close()


async def ended(bench: Bench) -> Mark:
    """A VM that Hostler made and deleted; its mark."""
    await bench.create()
    bench.cloud.settle()
    await bench.see()
    await bench.ask(Delete())
    await bench.work()
    bench.cloud.settle()
    await bench.see_change(bench.snapshot())
    await bench.work()
    await bench.heard()
    bench.cloud.calls.clear()
    return Mark(bench.vm_id, PROJECT)


def straggler(bench: Bench, mark: Mark | None) -> str:
    return bench.cloud.add("late", VmState.ACTIVE, mark)


async def tell(bench: Bench, subject: str, body: Body) -> None:
    message = Message[Body](
        id=new_id(),
        source="hostler/sync",
        time=bench.clock(),
        subject=subject,
        account="demo",
        actor="hostler/sync",
        data=body,
    )
    for _ in range(2):
        await hear(bench.service, message)


async def find(
    bench: Bench, id_: str, vm_id: UUID | None, kind: str = "server", **fields: Any
) -> None:
    """Sync says that it found an orphan."""
    body = {"kind": kind, "id": id_, "vm_id": vm_id, "reason": "vm_deleted", "proven": True}
    found = OrphanFound.model_validate(body | {"found_at": bench.clock()} | fields)
    await tell(bench, f"demo/{kind}/{id_}", found)


async def rounds(bench: Bench, seconds: int) -> int:
    """Let time go by, then look; how many were removed."""
    bench.clock.advance(seconds=seconds)
    return await bench.service.orphans.step()


async def killed_after_the_answer(bench: Bench) -> None:
    """The cloud has taken the removal; before that is written down the process is gone."""

    def kill() -> None:
        raise Killed

    bench.cloud.order("delete", meanwhile=kill)
    try:
        await bench.service.orphans.step()
    finally:
        await bench.kill()


async def known(bench: Bench) -> list[str]:
    async with bench.service.database.reading() as session:
        return list((await session.execute(select(Orphan.subject))).scalars())


async def test_by_default_an_orphan_is_only_kept_in_mind(bench: Bench) -> None:
    mark = await ended(bench)
    await find(bench, straggler(bench, mark), mark.vm_id)
    assert await rounds(bench, 10 * HOUR) == 0
    assert bench.cloud.calls == []
    assert len(await known(bench)) == 1


async def test_a_proven_orphan_is_removed_once_its_grace_has_passed(remover: Bench) -> None:
    mark = await ended(remover)
    await find(remover, straggler(remover, mark), mark.vm_id)
    assert await rounds(remover, HOUR - 1) == 0
    assert remover.cloud.calls == []
    await rounds(remover, 1)
    assert remover.cloud.calls == ["find", "delete"]
    assert await remover.heard() == [REMOVING]
    remover.cloud.settle()
    assert await rounds(remover, MINUTE) == 1
    assert await remover.heard() == [REMOVED]
    assert remover.last(OrphanRemoved).vm_id == mark.vm_id
    assert remover.log[-1].project_id == PROJECT
    assert await rounds(remover, HOUR) == 0
    assert await known(remover) == []
    assert await remover.heard() == []


async def test_an_orphan_that_the_cloud_does_not_remove_is_kept_in_mind_and_asked_for_again(
    remover: Bench,
) -> None:
    mark = await ended(remover)
    id_ = straggler(remover, mark)
    await find(remover, id_, mark.vm_id)
    await rounds(remover, HOUR)
    since = remover.clock()
    asked: list[int] = []
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        assert await rounds(remover, pause * MINUTE - 1) == 0
        assert await rounds(remover, 1) == 0
        asked.append(remover.cloud.called("delete"))
    assert asked == [2, 3, 4, 5, 6, 7, 8, 9]
    assert await remover.heard() == [REMOVING] * 9
    told: OrphanRemoving = remover.last(OrphanRemoving)
    assert (told.id, told.since, told.attempts, told.proven) == (id_, since, 9, True)
    assert await known(remover) == [f"demo/server/{id_}"]
    remover.cloud.settle()
    assert await rounds(remover, HOUR) == 1
    assert await remover.heard() == [REMOVED]


async def test_a_server_in_error_that_was_to_go_is_no_removed_one(remover: Bench) -> None:
    mark = await ended(remover)
    id_ = straggler(remover, mark)
    await find(remover, id_, mark.vm_id)
    await rounds(remover, HOUR)
    remover.cloud.servers[id_].mark = None
    remover.cloud.fail(id_, "Host is gone.")
    assert await rounds(remover, 10 * HOUR) == 0
    assert REMOVED not in await remover.heard()
    assert len(await known(remover)) == 1


async def test_what_is_told_again_while_it_goes_is_not_begun_anew(remover: Bench) -> None:
    mark = await ended(remover)
    id_ = straggler(remover, mark)
    found = remover.clock()
    await find(remover, id_, mark.vm_id)
    await rounds(remover, HOUR)
    await find(remover, id_, mark.vm_id, found_at=found, reason="second_server")
    assert await rounds(remover, MINUTE - 1) == 0
    assert remover.cloud.called("delete") == 1
    remover.cloud.settle()
    assert await rounds(remover, 1) == 1


@pytest.mark.parametrize("killed", [True, False])
async def test_what_sync_sees_gone_after_it_was_to_be_removed_was_removed(
    remover: Bench, killed: bool
) -> None:
    mark = await ended(remover)
    id_ = straggler(remover, mark)
    await find(remover, id_, mark.vm_id)
    remover.clock.advance(hours=1)
    if killed:
        with pytest.raises(Killed):
            await killed_after_the_answer(remover)
    else:
        await remover.service.orphans.step()
        await remover.heard()
    remover.cloud.settle()
    await tell(remover, f"demo/server/{id_}", OrphanGone(kind="server", id=id_))
    assert await remover.heard() == [REMOVED]
    assert remover.last(OrphanRemoved).vm_id == mark.vm_id
    assert await known(remover) == []
    assert await rounds(remover, HOUR) == 0
    assert await remover.heard() == []


async def test_what_the_cloud_refused_to_remove_was_not_removed_by_hostler(remover: Bench) -> None:
    mark = await ended(remover)
    id_ = straggler(remover, mark)
    await find(remover, id_, mark.vm_id)
    remover.cloud.order("delete", BUSY)
    await rounds(remover, HOUR)
    await tell(remover, f"demo/server/{id_}", OrphanGone(kind="server", id=id_))
    assert await remover.heard() == []
    assert await known(remover) == []


async def test_a_removal_is_told_although_the_process_is_killed_before_it_tells(
    remover: Bench,
) -> None:
    mark = await ended(remover)
    await find(remover, straggler(remover, mark), mark.vm_id)
    remover.clock.advance(hours=1)
    with pytest.raises(Killed):
        await killed_after_the_answer(remover)
    remover.cloud.settle()
    assert await remover.heard() == []
    assert await rounds(remover, 301) == 1
    for _ in range(3):
        await rounds(remover, HOUR)
    assert await remover.heard() == [REMOVED]
    assert len({message.id for message in remover.log if message.type == REMOVED}) == 1


@pytest.mark.parametrize(
    "why", ["not proven", "unknown vm", "no vm", "no mark", "another mark", "worked on", "alive"]
)
async def test_what_is_not_surely_hostlers_and_nobodys_stays(remover: Bench, why: str) -> None:
    mark = await ended(remover)
    if why == "alive":
        remover.vm_id = new_id()
        mark = Mark(remover.vm_id, PROJECT)
        await remover.create()
        remover.cloud.settle()
        await remover.see()
    stranger = new_id()
    marks = {"no mark": None, "another mark": Mark(stranger, PROJECT)}
    id_ = straggler(remover, marks.get(why, mark))
    if why == "alive":
        id_ = remover.cloud.alive()[0].snapshot.server_id or ""
    vm_ids = {"unknown vm": stranger, "no vm": None}
    await find(remover, id_, vm_ids.get(why, mark.vm_id), proven=why != "not proven")
    if why == "worked on":
        await remover.ask(Stop())
    alive = len(remover.cloud.alive())
    for _ in range(3):
        assert await rounds(remover, 2 * HOUR) == 0
    assert len(remover.cloud.alive()) == alive
    assert remover.cloud.called("delete") == 0


async def test_a_second_server_goes_while_the_vms_own_is_seen(remover: Bench) -> None:
    _, own = await remover.create()
    remover.cloud.settle()
    await remover.see()
    second = straggler(remover, Mark(remover.vm_id, PROJECT))
    await find(remover, second, remover.vm_id, reason="second_server")
    await rounds(remover, HOUR)
    assert await remover.work() == 0
    remover.cloud.settle()
    assert await rounds(remover, MINUTE) == 1
    assert [s.snapshot.server_id for s in remover.cloud.alive()] == [own]


async def test_a_second_server_stays_while_the_vms_own_is_not_seen(remover: Bench) -> None:
    _, own = await remover.create()
    remover.cloud.settle()
    await remover.see()
    second = straggler(remover, Mark(remover.vm_id, PROJECT))
    remover.cloud.vanish(own)
    await find(remover, second, remover.vm_id, reason="second_server")
    assert await rounds(remover, HOUR) == 0
    assert remover.cloud.called("delete") == 0


async def test_a_marked_volume_of_a_deleted_vm_is_removed(remover: Bench) -> None:
    mark = await ended(remover)
    remover.cloud.resources["v1"] = Resource("volume", "v1", "", mark, None)
    await find(remover, "v1", mark.vm_id, "volume")
    await rounds(remover, HOUR)
    assert remover.cloud.resources == {}
    assert await rounds(remover, MINUTE) == 1
    assert await remover.heard() == [REMOVING, REMOVED]


@pytest.mark.parametrize("why", ["no mark", "in use"])
async def test_a_resource_that_is_anothers_now_stays(remover: Bench, why: str) -> None:
    mark = await ended(remover)
    server_id = "another" if why == "in use" else None
    its = None if why == "no mark" else mark
    remover.cloud.resources["v1"] = Resource("volume", "v1", "", its, server_id)
    await find(remover, "v1", mark.vm_id, "volume")
    assert await rounds(remover, HOUR) == 0
    assert list(remover.cloud.resources) == ["v1"]


async def test_what_sync_sees_no_longer_is_forgotten(remover: Bench) -> None:
    mark = await ended(remover)
    id_ = straggler(remover, mark)
    await find(remover, id_, mark.vm_id)
    await tell(remover, f"demo/server/{id_}", OrphanGone(kind="server", id=id_))
    assert await rounds(remover, HOUR) == 0
    assert await known(remover) == []
    assert remover.cloud.called("delete") == 0


async def test_a_cloud_that_does_not_answer_is_asked_again_later(remover: Bench) -> None:
    mark = await ended(remover)
    await find(remover, straggler(remover, mark), mark.vm_id)
    remover.cloud.order("delete", BUSY)
    assert await rounds(remover, HOUR) == 0
    assert await remover.heard() == []
    await rounds(remover, HOUR)
    remover.cloud.settle()
    assert await rounds(remover, HOUR) == 1
    assert await remover.heard() == [REMOVING, REMOVED]


@pytest.mark.parametrize("asked", [True, False])
async def test_a_process_killed_while_it_removes_is_replaced(remover: Bench, asked: bool) -> None:
    mark = await ended(remover)
    id_ = straggler(remover, mark)
    await find(remover, id_, mark.vm_id)
    remover.clock.advance(hours=1)
    (orphan,) = await remover.service.orphans._claim()  # pyright: ignore[reportPrivateUsage]
    if asked:
        await remover.service.orphans.drivers("demo").delete(id_, "req-1")
    await remover.kill()
    assert await remover.service.orphans.step() == 0, "the lease still holds"
    await rounds(remover, 301)
    remover.cloud.settle()
    assert await rounds(remover, 2 * MINUTE) == 1
    assert await remover.heard() == [REMOVING, REMOVED]
    assert remover.cloud.alive() == []
    assert orphan.resource_id == id_


async def test_two_processes_remove_an_orphan_once(remover: Bench) -> None:
    mark = await ended(remover)
    await find(remover, straggler(remover, mark), mark.vm_id)
    rival = remover.another()
    remover.clock.advance(hours=1)
    for service in (remover.service, rival):
        assert await service.orphans.step() == 0
    assert remover.cloud.called("delete") == 1
    assert await remover.heard() == [REMOVING]
    remover.cloud.settle()
    remover.clock.advance(minutes=1)
    assert await remover.service.orphans.step() + await rival.orphans.step() == 1
    assert await remover.heard() == [REMOVED]
