"""What watches over the promises is not blind: each of them, broken on purpose, shows in the books."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.outbox import Relay
from chassis.wire import Record
from contracts.message import Body, Message
from contracts.vm.commands import Create
from drivers.base import Driver, Mark, Resource
from services.gateway import handlers
from services.provisioner import actions, worker
from services.provisioner.actions import Order, Taken
from services.provisioner.removals import Left
from services.sync import strangers
from tests.fakes.driver import FakeDriver
from tests.property import machine, world
from tests.property.machine import Machine
from tests.property.world import make_template


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    with asyncio.Runner() as runner:
        runner.run(make_template(folder))
    return folder


@pytest.fixture
def played(template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A world whose steps the test chooses, and not Hypothesis."""
    monkeypatch.setattr(machine, "note", str)
    monkeypatch.setattr(Machine, "template", template, raising=False)
    made = Machine()
    yield made
    made.runner.close()


def live(it: Machine) -> None:
    """A VM is made, has things attached, is stopped and deleted; everything is read twice.

    Another one, which somebody else made, is taken in and stopped.
    """
    it.begin("keep")
    it.deliver_everything()
    it.claim_and_die(after_the_call=True)
    it.wait(40)
    go_on(it)
    it.attach(1, "volume", ours=True)
    it.attach(1, "port", ours=False)
    it.act(0, "stop")
    go_on(it)
    for place in range(len(it.world.bus.logs)):
        it.read_again("gateway", place, 50)
    it.deliver_everything()
    it.take_in(0, told=True)
    go_on(it)
    it.act(1, "stop")
    go_on(it)
    it.delete(0)


def go_on(it: Machine) -> None:
    """What is asked is done, and seen."""
    it.deliver_everything()
    it.work()
    it.finish_in_the_cloud()
    it.wait(5)
    it.sweep()
    it.deliver_everything()


def test_nothing_is_noticed_where_nothing_is_broken(played: Machine) -> None:
    live(played)
    played.teardown()


class _LosingRelay(Relay):
    async def _publish_next(self) -> int:
        rows = await self._next()
        await self.publisher.publish([Record(r.topic, r.key, r.headers, r.body) for r in rows[1:]])
        self._published = [row.id for row in rows]
        return len(rows)


async def _take_whatever_comes(
    session: AsyncSession, messages: Sequence[Message[Body]], now: datetime
) -> set[UUID]:
    return {message.id for message in messages}


async def _find_nothing_left(driver: Driver, order: Order) -> Left:
    return Left(())


async def _create_without_a_look(driver: Driver, order: Order, wanted: Create) -> Taken:
    return Taken.by(await driver.create(order.mark, wanted, order.request_id))


async def _find_what_is_attached(
    self: FakeDriver, mark: Mark, server_id: str | None
) -> list[Resource]:
    return [each for each in self.cloud.resources.values() if each.server_id == server_id]


async def _leave_strangers_as_they_are(*_: object) -> None:
    return


BROKEN: dict[str, tuple[object, str, Callable[..., object], str]] = {
    "the outbox loses a row": (world, "Relay", _LosingRelay, "was accepted|ended"),
    "the inbox forgets": (handlers, "take_many", _take_whatever_comes, "followers 2 times"),
    "a delete ends too early": (worker, "clean", _find_nothing_left, "made for vm"),
    "a create does not look": (actions, "_adopt_or_create", _create_without_a_look, "second"),
    "a VM stays unmanaged": (strangers, "become_vms", _leave_strangers_as_they_are, "1 times unm"),
    "what is others' is removed": (FakeDriver, "belongings", _find_what_is_attached, "own and is"),
}


@pytest.mark.parametrize("promise", list(BROKEN))
def test_a_broken_promise_shows(
    played: Machine, promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, name, broken, told = BROKEN[promise]
    monkeypatch.setattr(room, name, broken)
    live(played)
    with pytest.raises(AssertionError, match=told):
        played.teardown()
