"""Orphans and unmanaged servers, as they are told: late and repeated messages leave the lists right."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from chassis.ids import new_id
from chassis.testing import VirtualClock, hear
from contracts.inventory.events import (
    OrphanFound,
    OrphanGone,
    OrphanRemoved,
    OrphanRemoving,
    UnmanagedServer,
)
from contracts.message import Body, Message
from contracts.vm.states import VmSnapshot
from services.gateway.context import Gateway
from services.gateway.tables import ORPHANS, UNMANAGED
from services.gateway.tidy import Tidy
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.world import NOW, Clients, told

LATER = NOW + timedelta(minutes=1)


async def test_an_orphan_is_listed_until_it_is_gone(gateway: Gateway, clients: Clients) -> None:
    await hear(gateway.service, orphan("p-1"), orphan("p-2"))
    [first, second] = await listed(clients, "/v1/orphans")
    assert (first["id"], first["kind"], first["reason"]) == ("p-1", "port", "vm_deleted")
    assert second["removal_at"] is None
    gone = about(OrphanGone(kind="port", id="p-1"), LATER)
    removed = about(OrphanRemoved(kind="port", id="p-2"), LATER)
    await hear(gateway.service, gone, removed)
    assert await listed(clients, "/v1/orphans") == []


async def test_an_older_telling_brings_no_orphan_back(gateway: Gateway, clients: Clients) -> None:
    gone = about(OrphanGone(kind="port", id="p-1"), LATER)
    await hear(gateway.service, orphan("p-1"), gone, orphan("p-1"))
    assert await listed(clients, "/v1/orphans") == []
    await hear(gateway.service, orphan("p-1", at=LATER + timedelta(minutes=1)))
    assert len(await listed(clients, "/v1/orphans")) == 1


async def test_an_orphan_that_is_being_removed_stays_listed_until_it_is_gone(
    gateway: Gateway, clients: Clients
) -> None:
    found = orphan("p-1")
    first = found.data
    assert isinstance(first, OrphanFound)
    again = LATER + timedelta(minutes=1)
    await hear(gateway.service, found, removing(first, LATER, 1), removing(first, again, 2), found)
    [shown] = await listed(clients, "/v1/orphans")
    assert (shown["removing_since"], shown["removal_attempts"]) == ("2026-01-01T12:01:00Z", 2)
    assert (shown["id"], shown["found_at"]) == ("p-1", "2026-01-01T12:00:00Z")
    gone = again + timedelta(minutes=1)
    await hear(gateway.service, about(OrphanRemoved(kind="port", id="p-1"), gone))
    await hear(gateway.service, removing(first, again, 2))
    assert await listed(clients, "/v1/orphans") == []
    await hear(gateway.service, orphan("p-1", at=gone + timedelta(minutes=1)))
    [found_again] = await listed(clients, "/v1/orphans")
    assert (found_again["removing_since"], found_again["removal_attempts"]) == (None, None)


async def test_of_an_orphan_that_is_being_removed_the_last_message_is_enough(
    gateway: Gateway, clients: Clients
) -> None:
    known = orphan("p-1").data
    assert isinstance(known, OrphanFound)
    await hear(gateway.service, removing(known, LATER, 3))
    [shown] = await listed(clients, "/v1/orphans")
    assert (shown["id"], shown["reason"], shown["removal_attempts"]) == ("p-1", "vm_deleted", 3)


async def test_when_a_proven_orphan_is_removed_is_shown_where_the_site_removes_them(
    new_gateway: NewGateway, clients: Clients, gateway: Gateway
) -> None:
    other = await new_gateway(orphans="remove", orphan_grace=3600)
    await hear(gateway.service, orphan("p-1"), orphan("p-2", proven=False))
    gateway.app.state.gateway = other
    shown = {each["id"]: each["removal_at"] for each in await listed(clients, "/v1/orphans")}
    assert shown == {"p-1": "2026-01-01T13:00:00Z", "p-2": None}


async def test_an_orphan_of_another_project_in_the_same_account_is_not_shown(
    gateway: Gateway, clients: Clients
) -> None:
    await hear(gateway.service, orphan("p-1", project_id="neighbour"), orphan("p-2", project_id=""))
    assert [each["id"] for each in await listed(clients, "/v1/orphans")] == ["p-2"]


async def test_a_server_that_hostler_does_not_know_is_listed_until_it_is_gone(
    gateway: Gateway, clients: Clients
) -> None:
    await hear(gateway.service, server("s-1"), server("s-2"))
    [first, _] = await listed(clients, "/v1/unmanaged")
    assert (first["id"], first["name"], first["state"]) == ("s-1", "db-1", "active")
    assert first["vm"]["metadata"] == {"team": "shop"}
    await hear(gateway.service, server("s-1", at=LATER, gone=True))
    await hear(gateway.service, server("s-1"))
    assert [each["id"] for each in await listed(clients, "/v1/unmanaged")] == ["s-2"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=db-*", ["s-1", "s-2"]),
        ("name=DB-1", ["s-1"]),
        ("name=db-%3F", ["s-1", "s-2"]),
        ("name=db%25", []),
        ("name=w_b", []),
        ("state=stopped", ["s-2"]),
        ("name=*&state=active&state=stopped", ["s-1", "s-2", "s-3"]),
    ],
)
async def test_servers_are_found_by_name_and_state(
    gateway: Gateway, clients: Clients, query: str, found: list[str]
) -> None:
    await hear(
        gateway.service,
        server("s-1"),
        server("s-2", name="Db-2", state="stopped"),
        server("s-3", name="web"),
    )
    shown = await listed(clients, f"/v1/unmanaged?{query}")
    assert sorted(each["id"] for each in shown) == found


async def test_the_list_of_servers_has_pages(gateway: Gateway, clients: Clients) -> None:
    await hear(gateway.service, *[server(f"s-{n}") for n in range(3)])
    page = (await clients.operator.get("/v1/unmanaged?limit=2")).json()
    rest = (await clients.operator.get(page["links"]["next"])).json()
    assert [each["id"] for each in page["items"] + rest["items"]] == ["s-0", "s-1", "s-2"]


async def test_what_is_gone_is_forgotten_after_a_while_and_what_is_there_never(
    gateway: Gateway, clock: VirtualClock
) -> None:
    week, day = timedelta(days=7), timedelta(days=1)
    tidy = Tidy(gateway.database, clock, week, day)
    then = clock()
    await hear(gateway.service, orphan("p-1", then), orphan("p-2", then))
    await hear(gateway.service, server("s-1", then), server("s-2", then))
    gone = OrphanGone(kind="port", id="p-1")
    await hear(gateway.service, about(gone, then), server("s-1", then, gone=True))
    clock.advance(days=6)
    await tidy.forget()
    assert await kept(gateway) == ["p-1", "p-2", "s-1", "s-2"]
    await hear(gateway.service, orphan("p-1", then - day), server("s-1", then - day))
    clock.advance(days=2)
    await tidy.forget()
    assert await kept(gateway) == ["p-2", "s-2"]


async def kept(gateway: Gateway) -> list[str]:
    """The ids of all rows, also of what is gone."""
    async with gateway.database.reading() as session:
        found = [await session.scalars(select(table.c.id)) for table in (ORPHANS, UNMANAGED)]
        return sorted(each for ids in found for each in ids)


async def test_another_accounts_servers_are_not_shown(gateway: Gateway, clients: Clients) -> None:
    await hear(gateway.service, server("s-1"), orphan("p-1"))
    for path in ("/v1/unmanaged", "/v1/orphans"):
        assert (await clients.stranger.get(path)).json()["items"] == []


async def listed(clients: Clients, path: str) -> list[dict[str, Any]]:
    answer = await clients.admin.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def orphan(port: str, at: datetime = NOW, project_id: str = "demo", **fields: Any) -> Message[Body]:
    known = {"kind": "port", "id": port, "vm_id": new_id(), "reason": "vm_deleted", "proven": True}
    found = OrphanFound.model_validate({**known, "found_at": NOW, **fields})
    return about(found, at, project_id)


def removing(found: OrphanFound, at: datetime, attempts: int) -> Message[Body]:
    known = found.model_dump(exclude={"type"}) | {"since": LATER, "attempts": attempts}
    return about(OrphanRemoving.model_validate(known), at)


def server(
    server_id: str, at: datetime = NOW, *, gone: bool = False, **fields: Any
) -> Message[Body]:
    known = {"server_id": server_id, "name": "db-1", "state": "active"}
    vm = VmSnapshot.model_validate({**known, "metadata": {"team": "shop"}, **fields})
    return about(UnmanagedServer(server_id=server_id, gone=gone, vm=vm), at, project_id="")


def about(data: Body, at: datetime, project_id: str = "demo") -> Message[Body]:
    return told(data, subject="simulator/x", time=at, project_id=project_id)
