"""Names in a create become ids: flavors, images, networks and key pairs from the catalog."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.errors import Retry
from chassis.problems import invalid
from contracts.errors import ErrorCode
from contracts.vm.commands import Create
from services.gateway.tables import CATALOG

NOT_SWEPT_RETRY = timedelta(seconds=5)
KINDS = {"flavor", "image", "network", "keypair"}


@dataclass(frozen=True)
class Resolved:
    """A create that names everything by id, and the flavor's name, by which VMs show it."""

    command: Create
    flavor: str


async def resolve(session: AsyncSession, account: str, create: Create) -> Resolved:
    """The create with ids for names; a 400 that names the field if the account offers no such thing.

    A Retry(UNAVAILABLE) while nothing is known of the account: sync has not looked at it yet.
    """
    await _known(session, account)
    flavor = await _one(session, account, "flavor", create.flavor, "body.flavor")
    image = await _one(session, account, "image", create.image, "body.image")
    if create.key_name is not None:
        await _one(session, account, "keypair", create.key_name, "body.key_name")
    ids = {
        "flavor": flavor.id,
        "image": image.id,
        "networks": await _networks(session, account, create.networks),
    }
    return Resolved(create.model_copy(update=ids), flavor.name)


async def _known(session: AsyncSession, account: str) -> None:
    kinds = select(CATALOG.c.kind).where(CATALOG.c.account == account).distinct()
    if not {"flavor", "image"} <= set(await session.scalars(kinds)):
        sentence = f"The catalog of the cloud account {account!r} has not been read yet; try again."
        raise Retry(ErrorCode.UNAVAILABLE, sentence, after=NOT_SWEPT_RETRY)


async def _one(
    session: AsyncSession, account: str, kind: str, reference: str, field: str
) -> Row[Any]:
    """The item with that id, or the only usable one with that name."""
    query = _offered(account, kind).where(
        or_(CATALOG.c.id == reference, CATALOG.c.name == reference)
    )
    found = (await session.execute(query)).all()
    by_id = [row for row in found if row.id == reference]
    usable = [row for row in by_id or found if _usable(row)]
    if len(usable) == 1:
        return usable[0]
    if usable:
        raise invalid(field, f"{len(usable)} {kind}s have the name {reference!r}: use the id.")
    if found:
        raise invalid(field, f"The image {reference!r} is {found[0].item['status']}, not active.")
    raise invalid(field, f"There is no {kind} {reference!r}.")


def _usable(row: Row[Any]) -> bool:
    return bool(row.kind != "image" or row.item["status"] == "active")


async def _networks(
    session: AsyncSession, account: str, wanted: list[str] | None
) -> list[str] | None:
    """The ids. None is the one network that there is; it stays None where there is none at all.

    Nova refuses a server that names none of several networks; here the caller learns it at once.
    """
    if wanted is not None:
        return [
            (await _one(session, account, "network", each, f"body.networks.{place}")).id
            for place, each in enumerate(wanted)
        ]
    rows = (await session.execute(_offered(account, "network"))).all()
    internal = {str(row.id): str(row.item["name"]) for row in rows if not row.item["external"]}
    if len(internal) > 1:
        names = ", ".join(sorted(internal.values()))
        raise invalid(
            "body.networks", f"Say which of the networks {names} to join, or [] for none."
        )
    return list(internal) or None


def _offered(account: str, kind: str) -> Any:
    return select(CATALOG).where(
        CATALOG.c.account == account, CATALOG.c.kind == kind, CATALOG.c.gone.is_(False)
    )
