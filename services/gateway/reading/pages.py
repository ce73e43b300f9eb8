"""A page out of the read model, for any list."""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request
from sqlalchemy import Row, Select, func, select

from services.gateway.context import Gateway
from services.gateway.pages import Order, Page, cut, links

T = TypeVar("T")


async def page_of(
    gateway: Gateway,
    request: Request,
    query: Select[Any],
    order: Order,
    shown: Callable[[Row[Any]], T],
    *,
    limit: int,
    marker: str | None,
    total: bool = False,
) -> Page[T]:
    """The page of `query` that `marker` names, each row as `shown` makes it."""
    place = gateway.markers.read(order, marker)
    async with gateway.database.reading() as session:
        rows = (await session.execute(order.apply(query, place).limit(limit + 1))).all()
        counted = await session.scalar(_count(query)) if total else None
    page, following = cut(rows, limit, order, gateway.markers)
    return Page(items=[shown(r) for r in page], links=links(request, following), total=counted)


def _count(query: Select[Any]) -> Select[int]:
    return select(func.count()).select_from(query.order_by(None).subquery())
