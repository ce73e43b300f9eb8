"""The catalog of an account out of the read model."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request
from sqlalchemy import Row, Select, select

from chassis.errors import Terminal
from contracts.errors import ErrorCode
from services.gateway.context import Gateway
from services.gateway.pages import Order, Page
from services.gateway.reading.pages import page_of
from services.gateway.resources import CatalogItem
from services.gateway.tables import CATALOG

ItemT = TypeVar("ItemT", bound=CatalogItem)
_ORDER = Order("name", CATALOG.c.name, CATALOG.c.id)


@dataclass(frozen=True)
class Part(Generic[ItemT]):
    """One kind of item of one account, perhaps by name."""

    account: str
    kind: type[ItemT]
    name: str | None = None

    def query(self) -> Select[Any]:
        """What the account offers of it now."""
        offered = select(CATALOG).where(
            CATALOG.c.account == self.account,
            CATALOG.c.kind == self.kind.__name__.lower(),
            CATALOG.c.gone.is_(False),
        )
        return offered if self.name is None else offered.where(CATALOG.c.name == self.name)

    def shown(self, row: Row[Any]) -> ItemT:
        """An item as the API answers it."""
        return self.kind.model_validate(row.item)


async def page(
    gateway: Gateway, request: Request, part: Part[ItemT], limit: int, marker: str | None
) -> Page[ItemT]:
    """A page of items, by name."""
    return await page_of(
        gateway, request, part.query(), _ORDER, part.shown, limit=limit, marker=marker
    )


async def find(gateway: Gateway, part: Part[ItemT], item_id: str) -> ItemT:
    """One item; Terminal(NOT_FOUND) if the account does not offer it."""
    async with gateway.database.reading() as session:
        row = (await session.execute(part.query().where(CATALOG.c.id == item_id))).first()
    if row is None:
        raise Terminal(ErrorCode.NOT_FOUND)
    return part.shown(row)
