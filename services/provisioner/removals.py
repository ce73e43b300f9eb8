"""What is removed: what an undone create made, what came too late, what belonged to a server."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from chassis.errors import HostlerError
from drivers.base import Driver, Inventories, Resource
from services.provisioner.actions import Order, ids_of

T = TypeVar("T")


@dataclass(frozen=True)
class Left:
    """What there still is of a VM that goes; `refusal`: why some of it could not be removed yet."""

    servers: Sequence[str]
    belongings: Sequence[Resource] = ()
    refusal: HostlerError | None = None

    @property
    def anything(self) -> bool:
        """Whether there is anything at all."""
        return bool(self.servers or self.belongings)


async def undo(driver: Driver, order: Order, *, remove: bool) -> Left:
    """Find what a create has made and, if `remove`, ask for its end; call it until none is left."""
    servers = ids_of(await driver.find(order.mark))
    for server_id in servers if remove else ():
        await driver.delete(server_id, order.request_id)
    return Left(servers) if servers or not remove else await _clean_belongings(driver, order)


async def clean(driver: Driver, order: Order) -> Left:
    """Have all removed that is left of a VM whose server is gone; call it until nothing is.

    That is what belonged to the server, and every other server with the VM's mark: unanswered
    creates may have made more than one. What cannot be removed yet keeps nothing else.
    """
    servers = ids_of(await driver.find(order.mark))
    refusal = await _each(servers, lambda server: driver.delete(server, order.request_id))
    left = await _clean_belongings(driver, order)
    return replace(left, servers=servers, refusal=refusal or left.refusal)


async def clear(driver: Driver, order: Order) -> Left:
    """Delete what an ended create has made besides `order.server_id`; None: all of it.

    Only while the one to keep is there in the same answer: which is the VM's is sync's to say.
    """
    servers, kept = ids_of(await driver.find(order.mark)), order.server_id
    if kept is not None and kept not in servers:
        return Left(())
    surplus = [server_id for server_id in servers if server_id != kept]
    for server_id in surplus:
        await driver.delete(server_id, order.request_id)
    return Left(surplus)


async def _clean_belongings(driver: Driver, order: Order) -> Left:
    if not isinstance(driver, Inventories):
        return Left(())
    belongings = await driver.belongings(order.mark, order.server_id)
    refusal = await _each(belongings, lambda its: driver.remove(its, order.request_id))
    return Left((), belongings, refusal)


async def _each(things: Iterable[T], end: Callable[[T], Awaitable[object]]) -> HostlerError | None:
    """Ask for the end of each; the last refusal, if there was one."""
    refusal: HostlerError | None = None
    for thing in things:
        try:
            await end(thing)
        except HostlerError as error:
            refusal = error
    return refusal
