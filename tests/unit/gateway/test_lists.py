"""Lists: keyset pages in every order, filters, and counts only when asked for."""

import pytest

from chassis.testing import VirtualClock, hear
from contracts.vm.states import VmState
from services.gateway.context import Gateway
from services.gateway.resources import Vm
from tests.unit.gateway.world import Clients, changed, create, make_active

NAMES = ["b", "a", "b", "D", "c"]


async def all_pages(clients: Clients, url: str) -> list[str]:
    names: list[str] = []
    while url:
        page = (await clients.viewer.get(url)).json()
        assert len(page["items"]) <= 2
        names += [item["name"] for item in page["items"]]
        url = page["links"]["next"]
    return names


async def test_pages_give_each_vm_once_in_every_order(
    clients: Clients, clock: VirtualClock
) -> None:
    for name in NAMES:
        await create(clients.operator, name=name)
        clock.advance(seconds=1)
    assert await all_pages(clients, "/v1/vms?limit=2") == NAMES[::-1]
    assert await all_pages(clients, "/v1/vms?limit=2&sort=created_at") == NAMES
    assert await all_pages(clients, "/v1/vms?limit=2&sort=updated_at") == NAMES
    by_name = await all_pages(clients, "/v1/vms?limit=2&sort=name")
    assert sorted(by_name) == sorted(NAMES)
    assert await all_pages(clients, "/v1/vms?limit=2&sort=-name") == by_name[::-1]


async def test_a_marker_holds_for_its_own_order_only(clients: Clients) -> None:
    for name in NAMES:
        await create(clients.operator, name=name)
    page = (await clients.viewer.get("/v1/vms?limit=1&sort=name")).json()
    following = page["links"]["next"].replace("sort=name", "sort=-name")
    assert (await clients.viewer.get(following)).status_code == 400


async def test_filters_narrow_and_totals_count(gateway: Gateway, clients: Clients) -> None:
    web = await make_active(gateway, clients.operator, name="Web_1", tags=["blue", "web"])
    await make_active(gateway, clients.operator, name="WebX1", tags=["web"])
    gone = await make_active(gateway, clients.operator, name="gone")
    await hear(gateway.service, changed(gone["id"], 2, VmState.DELETED, name="gone"))

    async def names(query: str) -> list[str]:
        answer = await clients.viewer.get(f"/v1/vms?sort=name&{query}")
        return [item["name"] for item in answer.json()["items"]]

    assert await names("") == ["WebX1", "Web_1"]
    assert await names("name=web_") == ["Web_1"]
    assert await names("tag=web&tag=blue") == ["Web_1"]
    assert await names("state=deleted") == ["gone"]
    assert len(await names("deleted=true")) == 3
    assert await names("flavor=f-1") == ["WebX1", "Web_1"]
    assert await names("flavor=m1.small&image=debian-12&state=active") == ["WebX1", "Web_1"]
    assert await names("image=i-2") == []
    assert await names("changed_since=2027-01-01T00:00:00Z") == []
    counted = (await clients.viewer.get("/v1/vms?total=true&limit=1")).json()
    assert (counted["total"], len(counted["items"])) == (2, 1)
    assert web["tags"] == ["blue", "web"]


async def test_operations_are_listed_by_vm_state_and_command(
    gateway: Gateway, clients: Clients
) -> None:
    vm = await make_active(gateway, clients.operator)
    await create(clients.operator, name="another")
    url = f"/v1/operations?vm_id={vm['id']}"
    [only] = (await clients.viewer.get(url)).json()["items"]
    assert only["state"] == "succeeded"
    queued = (await clients.viewer.get("/v1/operations?state=queued")).json()["items"]
    assert [each["vm_id"] != vm["id"] for each in queued] == [True]
    stops = await clients.viewer.get("/v1/operations?command=vm.stop.v1")
    assert stops.json()["items"] == []


@pytest.mark.parametrize("kind", ["flavors", "images", "networks", "keypairs"])
async def test_the_catalog_is_listed_by_name(clients: Clients, kind: str) -> None:
    first = (await clients.viewer.get(f"/v1/{kind}?limit=1")).json()
    assert len(first["items"]) == 1
    name = first["items"][0]["name"]
    named = (await clients.viewer.get(f"/v1/{kind}?name={name}")).json()["items"]
    assert named == first["items"]


async def test_a_catalog_item_is_shown_by_id(clients: Clients) -> None:
    assert (await clients.viewer.get("/v1/flavors/f-1")).json()["vcpus"] == 1
    assert (await clients.viewer.get("/v1/images/i-1")).json()["status"] == "active"
    assert (await clients.viewer.get("/v1/images/f-1")).status_code == 404


async def test_what_is_sent_of_a_vm_is_what_its_schema_says(
    gateway: Gateway, clients: Clients
) -> None:
    """Items are sent without a validation: this is the one that they would go through."""
    await make_active(gateway, clients.operator, name="busy", tags=["x"], metadata={"a": "b"})
    await create(clients.operator, name="new")
    page = (await clients.viewer.get("/v1/vms?sort=name")).json()
    assert [item["name"] for item in page["items"]] == ["busy", "new"]
    for item in page["items"]:
        assert Vm.model_validate(item).model_dump(mode="json") == item
        assert (await clients.viewer.get(f"/v1/vms/{item['id']}")).json() == item
