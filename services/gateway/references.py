"""Names in a create become ids: flavors, images, networks and key pairs from the catalog.

What an account offers is held in memory. Whatever commits news of the catalog here drops it, another
replica's news is seen after `KEPT`; and no create is refused before the table was read anew.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import bindparam, event, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from chassis.errors import HostlerError, Retry
from chassis.leases import Clock
from chassis.problems import invalid
from contracts.errors import ErrorCode
from contracts.vm.commands import Create
from services.gateway.tables import CATALOG

NOT_SWEPT_RETRY = timedelta(seconds=5)
KEPT = timedelta(seconds=5)


@dataclass(frozen=True)
class Resolved:
    """A create that names everything by id, and the flavor's name, by which VMs show it."""

    command: Create
    flavor: str


@dataclass(frozen=True)
class _Item:
    id: str
    name: str
    status: str | None
    external: bool

    @property
    def usable(self) -> bool:
        return self.status in {None, "active"}


@dataclass
class _Kind:
    """The items of one kind, by id, and by name, which several can have."""

    by_id: dict[str, _Item] = field(default_factory=dict[str, _Item])
    by_name: defaultdict[str, list[_Item]] = field(default_factory=lambda: defaultdict(list))

    def add(self, item: _Item) -> None:
        self.by_id[item.id] = item
        self.by_name[item.name].append(item)

    def named(self, reference: str) -> list[_Item]:
        """The item with that id, or all with that name."""
        found = self.by_id.get(reference)
        return [found] if found else self.by_name.get(reference, [])


Offers = dict[str, _Kind]
"""What an account offers, by kind."""


class References:
    """Resolves creates of any account."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._kept: dict[str, tuple[Offers, datetime]] = {}

    async def resolve(self, session: AsyncSession, account: str, create: Create) -> Resolved:
        """The create with ids for names; a 400 that names the field if there is no such thing.

        A Retry(UNAVAILABLE) while nothing is known of the account: sync has not looked at it yet.
        """
        kept = self._kept.get(account)
        if kept is not None and self.clock() < kept[1] + KEPT:
            try:
                return _resolved(kept[0], account, create)
            except HostlerError:
                pass
        return _resolved(await self._read(session, account), account, create)

    def forget_after(self, session: AsyncSession) -> None:
        """Read anew once the session's transaction has committed: it has news of the catalog."""
        if not session.info.get("forgets"):
            session.info["forgets"] = True
            event.listen(session.sync_session, "after_commit", self._forget, once=True)

    def _forget(self, _session: Session) -> None:
        self._kept.clear()

    async def _read(self, session: AsyncSession, account: str) -> Offers:
        read_at = self.clock()
        offers: Offers = defaultdict(_Kind)
        # What is gone still says that the account has been looked at.
        for row in (await session.execute(_OFFERED, {"account": account})).all():
            kind = offers[row.kind]
            if not row.gone:
                status = row.status if row.kind == "image" else None
                kind.add(_Item(row.id, row.name, status, bool(row.external)))
        self._kept[account] = (offers, read_at)
        return offers


_OFFERED = (
    select(
        CATALOG.c.kind,
        CATALOG.c.id,
        CATALOG.c.name,
        CATALOG.c.gone,
        CATALOG.c.item["status"].as_string().label("status"),
        CATALOG.c.item["external"].as_boolean().label("external"),
    )
    .where(CATALOG.c.account == bindparam("account"))
    .order_by(CATALOG.c.name, CATALOG.c.id)
)


def _resolved(offers: Offers, account: str, create: Create) -> Resolved:
    if not {"flavor", "image"} <= set(offers):
        sentence = f"The catalog of the cloud account {account!r} has not been read yet; try again."
        raise Retry(ErrorCode.UNAVAILABLE, sentence, after=NOT_SWEPT_RETRY)
    flavor = _one(offers, "flavor", create.flavor, "body.flavor")
    image = _one(offers, "image", create.image, "body.image")
    if create.key_name is not None:
        _one(offers, "keypair", create.key_name, "body.key_name")
    ids = {
        "flavor": flavor.id,
        "image": image.id,
        "networks": _networks(offers, create.networks),
    }
    return Resolved(create.model_copy(update=ids), flavor.name)


def _one(offers: Offers, kind: str, reference: str, where: str) -> _Item:
    """The item with that id, or the only usable one with that name."""
    found: Sequence[_Item] = offers[kind].named(reference) if kind in offers else []
    usable = [item for item in found if item.usable]
    if len(usable) == 1:
        return usable[0]
    if usable:
        raise invalid(where, f"{len(usable)} {kind}s have the name {reference!r}: use the id.")
    if found:
        raise invalid(where, f"The image {reference!r} is {found[0].status}, not active.")
    raise invalid(where, f"There is no {kind} {reference!r}.")


def _networks(offers: Offers, wanted: list[str] | None) -> list[str] | None:
    """The ids. None is the one network that there is; it stays None where there is none at all.

    Nova refuses a server that names none of several networks; here the caller learns it at once.
    """
    if wanted is not None:
        return [
            _one(offers, "network", each, f"body.networks.{place}").id
            for place, each in enumerate(wanted)
        ]
    networks = offers.get("network", _Kind()).by_id.values()
    internal = {item.id: item.name for item in networks if not item.external}
    if len(internal) > 1:
        names = ", ".join(sorted(internal.values()))
        raise invalid(
            "body.networks", f"Say which of the networks {names} to join, or [] for none."
        )
    return list(internal) or None
