"""What each command asks of a driver, safe to repeat: look for what is there before asking again.

A new action is one `case` in `perform`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar, assert_never

from chassis.errors import Terminal
from chassis.leases import Clock
from contracts.errors import ErrorCode
from contracts.vm.commands import (
    Create,
    Delete,
    Import,
    Pause,
    Reboot,
    Start,
    Stop,
    Sync,
    Unpause,
    Update,
    VmCommand,
)
from contracts.vm.states import VmSnapshot
from drivers.base import (
    ActionRecord,
    Driver,
    Issued,
    Looked,
    Mark,
    Pauses,
    Powers,
    Reboots,
)
from services.provisioner.settling import (
    reached,
)

AbilityT = TypeVar("AbilityT")
CLOCK_SKEW = timedelta(seconds=2)
"""By how much the cloud's clock may be behind ours when its records are searched."""


@dataclass(frozen=True)
class Order:
    """What one attempt goes by.

    `asked_at` is since when an earlier attempt may have got through; None: none has. `patience` is
    how long a build may take.
    """

    command: VmCommand
    mark: Mark
    request_id: str
    server_id: str | None
    asked_at: datetime | None
    patience: timedelta = timedelta.max
    anew: bool = False
    """An operator asked for another attempt: what came to nothing is asked for again."""
    withdrawn: bool = False
    """It was cancelled: whether an earlier attempt got through is all that is asked."""


@dataclass(frozen=True)
class Taken:
    """The cloud has the request, or nothing had to be asked; `called_at` by the cloud's clock."""

    server_id: str | None
    called_at: datetime
    cloud_request_id: str | None = None

    @classmethod
    def by(cls, issued: Issued) -> "Taken":
        """What a driver's call came to."""
        return cls(issued.server_id, issued.called_at, issued.cloud_request_id)


@dataclass(frozen=True)
class Withdrawn:
    """It was cancelled, and no attempt has got through: the cloud is not asked any more."""


async def perform(  # noqa: C901, PLR0911 - a case and a return per command
    driver: Driver, order: Order, clock: Clock
) -> Taken | Withdrawn:
    """Have the cloud take the command, once. Ends as a driver's method does."""
    rid = order.request_id
    match order.command:
        case Sync() | Import() if order.withdrawn:
            return Withdrawn()
        case Create() as wanted:
            return await _adopt_or_create(driver, order, wanted)
        case Import(server_id=server_id):
            return await _take_in(driver, server_id)
        case Sync():
            return Taken(order.server_id, clock())
        case Delete():
            return await _once(driver, order, lambda server: driver.delete(server, rid))
        case Update() as wanted:
            return await _once(driver, order, lambda server: driver.update(server, wanted, rid))
        case Start():
            powers = _able(driver, Powers)
            return await _once(driver, order, lambda server: powers.start(server, rid))
        case Stop():
            powers = _able(driver, Powers)
            return await _once(driver, order, lambda server: powers.stop(server, rid))
        case Reboot(hard=hard):
            reboots = _able(driver, Reboots)
            return await _once(
                driver, order, lambda server: reboots.reboot(server, hard=hard, request_id=rid)
            )
        case Pause():
            pauses = _able(driver, Pauses)
            return await _once(driver, order, lambda server: pauses.pause(server, rid))
        case Unpause():
            pauses = _able(driver, Pauses)
            return await _once(driver, order, lambda server: pauses.unpause(server, rid))
        case _:
            assert_never(order.command)


def _able(driver: Driver, ability: type[AbilityT]) -> AbilityT:
    if isinstance(driver, ability):
        return driver
    sentence = f"The cloud of account {driver.account!r} offers no {ability.__name__.lower()}."
    raise Terminal(ErrorCode.UNSUPPORTED, sentence)


async def _take_in(driver: Driver, server_id: str) -> Taken:
    """Only look: the server is somebody's already if it carries a mark."""
    looked = await driver.look(server_id)
    if not looked.servers:
        raise Terminal(ErrorCode.NO_SERVER, f"The account has no server {server_id}.")
    if (mark := looked.servers[0].mark) is not None:
        raise Terminal(ErrorCode.CONFLICT, f"The server {server_id} is the VM {mark.vm_id}.")
    return Taken(server_id, looked.clock)


async def _adopt_or_create(driver: Driver, order: Order, wanted: Create) -> Taken:
    """One call the first time. Later: adopt what an earlier attempt made, else create once more."""
    if order.asked_at is None:
        return Taken.by(await driver.create(order.mark, wanted, order.request_id))
    if (found := await driver.find(order.mark)).servers:
        return Taken(await _keep_oldest(driver, order, found), found.clock)
    made = await driver.create(order.mark, wanted, order.request_id)
    if len((found := await driver.find(order.mark)).servers) > 1:
        return Taken(await _keep_oldest(driver, order, found), found.clock)
    return Taken.by(made)


async def _keep_oldest(driver: Driver, order: Order, found: Looked) -> str | None:
    kept, *surplus = ids_of(found)
    for server_id in surplus:
        await driver.delete(server_id, order.request_id)
    return kept


async def _once(
    driver: Driver, order: Order, call: Callable[[str], Awaitable[Issued]]
) -> Taken | Withdrawn:
    """Call for the VM's server, unless an earlier attempt has got through already."""
    server_id = order.server_id
    if server_id is None:
        found = await driver.find(order.mark)
        if not found.servers:
            return _without_server(order, found.clock)
        server_id = ids_of(found)[0]
    if order.asked_at is not None:
        taken = await _taken_before(driver, order, server_id, order.asked_at)
        if taken is not None:
            return taken
    return Withdrawn() if order.withdrawn else Taken.by(await call(server_id))


def _without_server(order: Order, clock: datetime) -> Taken:
    if isinstance(order.command, Delete):
        return Taken(order.server_id, clock)
    raise Terminal(ErrorCode.NO_SERVER)


async def _taken_before(
    driver: Driver, order: Order, server_id: str, asked_at: datetime
) -> Taken | None:
    """What an earlier attempt came to, if it got through: by its effect or the cloud's record."""
    looked = await driver.look(server_id)
    if not looked.servers:
        return _without_server(order, looked.clock)
    vm = looked.servers[0].snapshot
    if _lasts(order.command) and vm.task is None and reached(order.command, vm):
        return Taken(server_id, looked.clock)
    record = record_of(
        await driver.actions(server_id), order.command, asked_at.replace(microsecond=0) - CLOCK_SKEW
    )
    if record is None or (order.anew and _came_to_nothing(order.command, vm, record)):
        return None
    return Taken(server_id, record.started_at, record.request_id)


def _lasts(command: VmCommand) -> bool:
    """Whether its effect can be seen of the server afterwards; not that of a reboot."""
    return isinstance(command, Update) or not command.change.returns


def _came_to_nothing(command: VmCommand, vm: VmSnapshot, record: ActionRecord) -> bool:
    """Whether the cloud, which took it once, is not at it any more and has not done it.

    A delete may be asked for again at any time. What lasts is not to be seen, or nobody would ask.
    """
    if isinstance(command, Delete):
        return True
    return vm.task is None and (_lasts(command) or record.failed or not record.finished)


def record_of(
    records: Sequence[ActionRecord], command: VmCommand, since: datetime
) -> ActionRecord | None:
    """The latest record of the command's verb that began at or after `since`."""
    verb = command.verb()
    return next((r for r in records if r.action == verb and r.started_at >= since), None)


def ids_of(looked: Looked) -> list[str]:
    """The cloud's ids of the servers of an answer, in its order."""
    return [seen.snapshot.server_id for seen in looked.servers if seen.snapshot.server_id]
