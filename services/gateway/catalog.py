"""The catalog of the cloud accounts, as sync tells it: kept here, listed by routes."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import insert
from contracts.catalog.events import Flavor, Image, KeyPair, Network
from contracts.message import Body, Message
from services.gateway.tables import CATALOG

Item = Flavor | Image | Network | KeyPair


async def keep_item(session: AsyncSession, message: Message[Body], item: Item) -> None:
    """Keep the item as it is told now; an older telling changes nothing."""
    said: dict[str, Any] = {
        "name": item.name,
        "gone": item.gone,
        "said_at": message.time,
        "item": item.model_dump(mode="json", exclude={"type", "gone"}),
    }
    row = insert(session, CATALOG).values(
        account=message.account, kind=item.wire_name().split(".")[1], id=item.id, **said
    )
    newer = CATALOG.c.said_at <= message.time
    keys = ["account", "kind", "id"]
    await session.execute(row.on_conflict_do_update(index_elements=keys, set_=said, where=newer))
