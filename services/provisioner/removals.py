"""What is removed: what an undone create made, what came too late, what belonged to a server."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.errors import HostlerError
from drivers.base import Driver, Inventories, Resource
from services.provisioner.actions import Order, ids_of


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
    return Left(servers) if servers or not remove else await clean(driver, order)


async def clean(driver: Driver, order: Order) -> Left:
    """Have what belonged to a server that is gone removed; call it until nothing is left."""
    if not isinstance(driver, Inventories):
        return Left(())
    belongings = await driver.belongings(order.mark, order.server_id)
    refusal: HostlerError | None = None
    for resource in belongings:
        try:
            await driver.remove(resource, order.request_id)
        except HostlerError as error:
            refusal = error
    return Left((), belongings, refusal)


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
