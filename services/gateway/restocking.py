"""Catalog, orphans and unmanaged servers told anew: what was said of each last, kept as it always is."""

from collections import Counter
from itertools import islice

from chassis.database import Database
from contracts.catalog.events import Flavor, Image, KeyPair, Network
from contracts.inventory.events import (
    OrphanFound,
    OrphanGone,
    OrphanRemoved,
    OrphanRemoving,
    UnmanagedServer,
)
from contracts.message import Body, Message
from services.gateway.catalog import keep_item
from services.gateway.inventory import on_inventory

Item = Flavor | Image | Network | KeyPair
AT_ONCE = 100


class Stock:
    """What accounts offer, and hold that is no VM's."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, ...], Message[Body]] = {}

    def hear(self, message: Message[Body]) -> None:
        """One message, in the order in which they were said of one thing; others are nothing."""
        match message.data:
            case Flavor() | Image() | Network() | KeyPair() as item:
                self._told[message.account, item.wire_name(), item.id] = message
            case OrphanFound() | OrphanRemoving() | OrphanGone() | OrphanRemoved() as orphan:
                self._told[message.account, "orphan", orphan.kind, orphan.id] = message
            case UnmanagedServer() as server:
                self._told[message.account, "unmanaged", server.server_id] = message
            case _:
                pass

    def counts(self) -> Counter[str]:
        """How many things were told, by the list that they are in."""
        return Counter(
            "catalog items told" if isinstance(each.data, Item) else "inventory told"
            for each in self._told.values()
        )

    async def keep(self, database: Database) -> None:
        """Write them, some in each transaction; what is told in an older message stays as it is."""
        rest = iter(self._told.values())
        while some := list(islice(rest, AT_ONCE)):
            async with database.session() as session:
                for message in some:
                    if isinstance(message.data, Item):
                        await keep_item(session, message, message.data)
                    else:
                        await on_inventory(session, message)
