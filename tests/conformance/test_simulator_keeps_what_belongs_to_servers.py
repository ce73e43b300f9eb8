"""Ports, floating IPs and volumes, told by hand; the simulator and a real cloud both do it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.cloud import PATIENCE, Answer, JsonObject, Make, Tenant

# openstacksdk deprecates parts of itself that it uses itself
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
NOBODY = "11111111-1111-1111-1111-111111111111"


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def new_tag() -> str:
    return f"conformance:{uuid.uuid4()}"


class Neutron:
    """The tenant's Neutron; what it makes goes with the test."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._made: list[str] = []

    def call(self, method: str, path: str, body: object = None) -> Answer:
        return self._tenant.call(method, path, body, service="network")

    def make(self, plural: str, singular: str, **fields: object) -> JsonObject:
        made = self.call("POST", f"/{plural}", {singular: fields})
        assert made.status == 201, made.text
        found: JsonObject = made.body[singular]
        self._made.append(f"/{plural}/{found['id']}")
        return found

    def port(self, **fields: object) -> JsonObject:
        network = self._tenant.named("network", "networks", "private")
        return self.make("ports", "port", network_id=network, **fields)

    def floating_ip(self, **fields: object) -> JsonObject:
        network = self._tenant.named("network", "networks", "public")
        return self.make("floatingips", "floatingip", floating_network_id=network, **fields)

    def ids(self, plural: str, query: str) -> list[str]:
        return [found["id"] for found in self.call("GET", f"/{plural}?{query}").body[plural]]

    def clear(self) -> None:
        for path in reversed(self._made):
            self.call("DELETE", path)


@pytest.fixture
def neutron(demo: Tenant) -> Iterator[Neutron]:
    made = Neutron(demo)
    yield made
    made.clear()


def tagged(neutron: Neutron, plural: str) -> str:
    """A new port or floating IP; its path."""
    made = neutron.port() if plural == "ports" else neutron.floating_ip()
    return f"/{plural}/{made['id']}"


@pytest.mark.parametrize("plural", ["ports", "floatingips"])
def test_tags_are_set_shown_and_taken_off(neutron: Neutron, plural: str) -> None:
    path = tagged(neutron, plural)
    set_ = neutron.call("PUT", path + "/tags", {"tags": ["a", "b:c"]})
    assert (set_.status, sorted(set_.body["tags"])) == (200, ["a", "b:c"])
    shown = neutron.call("GET", path).body[plural[:-1]]
    assert sorted(shown["tags"]) == ["a", "b:c"]
    assert neutron.call("PUT", path + "/tags/d").status == 201
    assert neutron.call("PUT", path + "/tags/d").status == 201
    assert neutron.call("GET", path + "/tags/d").status == 204
    assert neutron.call("DELETE", path + "/tags/a").status == 204
    missing = neutron.call("DELETE", path + "/tags/a")
    assert missing.status == 404
    assert missing.body["NeutronError"]["type"] == "TagNotFound"
    assert sorted(neutron.call("GET", path + "/tags").body["tags"]) == ["b:c", "d"]
    assert neutron.call("DELETE", path + "/tags").status == 204
    assert neutron.call("GET", path + "/tags").body == {"tags": []}


@pytest.mark.parametrize("body", [{}, {"tags": "a"}, {"tags": ["a", "a"]}, {"tags": ["a" * 256]}])
def test_tags_that_are_none_are_refused(neutron: Neutron, body: JsonObject) -> None:
    path = tagged(neutron, "ports")
    refused = neutron.call("PUT", path + "/tags", body)
    assert refused.status == 400
    assert refused.body["NeutronError"]["type"] == "InvalidInput"


@pytest.mark.parametrize("plural", ["ports", "floatingips"])
def test_lists_are_filtered_by_tags(neutron: Neutron, plural: str) -> None:
    both, one = tagged(neutron, plural), tagged(neutron, plural)
    x, y = new_tag(), new_tag()
    neutron.call("PUT", both + "/tags", {"tags": [x, y]})
    neutron.call("PUT", one + "/tags", {"tags": [x]})
    ids = [path.rpartition("/")[2] for path in (both, one)]
    assert set(neutron.ids(plural, f"tags={x}")) == set(ids)
    assert neutron.ids(plural, f"tags={x},{y}") == ids[:1]
    assert set(neutron.ids(plural, f"tags-any={x},{y}")) == set(ids)
    assert neutron.ids(plural, f"tags={x}&not-tags={y}") == ids[1:]
    assert neutron.ids(plural, f"tags={new_tag()}") == []


def test_a_port_is_made_for_something_and_takes_its_tags_later(neutron: Neutron) -> None:
    tag = new_tag()
    port = neutron.port(tags=[tag], device_owner="network:conformance", name="n")
    assert (port["tags"], port["device_owner"]) == ([], "network:conformance")
    neutron.call("PUT", f"/ports/{port['id']}/tags", {"tags": [tag]})
    assert neutron.ids("ports", f"tags={tag}&device_owner=network:conformance") == [port["id"]]


def test_ports_come_in_pages_and_each_once(neutron: Neutron) -> None:
    tag = new_tag()
    made = {str(neutron.port()["id"]) for _ in range(5)}
    for port_id in made:
        neutron.call("PUT", f"/ports/{port_id}/tags", {"tags": [tag]})
    seen: list[str] = []
    query = f"tags={tag}&limit=2"
    while True:
        page = neutron.call("GET", f"/ports?{query}").body
        seen += [port["id"] for port in page["ports"]]
        assert len(page["ports"]) <= 2
        if not any(link["rel"] == "next" for link in page.get("ports_links", [])):
            break
        query = f"tags={tag}&limit=2&marker={seen[-1]}"
    assert (len(seen), set(seen)) == (5, made)


@pytest.mark.parametrize("plural", ["networks", "subnets", "security-group-rules"])
def test_a_page_of_what_the_cloud_offers_goes_on_behind_its_marker(
    neutron: Neutron, plural: str
) -> None:
    name = plural.replace("-", "_")
    every = [found["id"] for found in neutron.call("GET", f"/{plural}").body[name]]
    first = neutron.call("GET", f"/{plural}?limit=1").body[name]
    rest = neutron.call("GET", f"/{plural}?limit=999&marker={first[0]['id']}").body[name]
    assert sorted(found["id"] for found in first + rest) == sorted(every)


@pytest.mark.parametrize("plural", ["ports", "networks"])
def test_a_list_that_goes_on_from_what_is_gone_is_refused(neutron: Neutron, plural: str) -> None:
    assert neutron.call("GET", f"/{plural}?limit=2&marker={NOBODY}").status == 404


def test_a_floating_ip_leads_to_a_port_until_the_port_goes(neutron: Neutron) -> None:
    free = neutron.floating_ip(description="d")
    assert (free["port_id"], free["status"], free["description"]) == (None, "DOWN", "d")
    port = neutron.port(name="led-to")
    path = f"/floatingips/{free['id']}"
    led = neutron.call("PUT", path, {"floatingip": {"port_id": port["id"]}})
    assert led.status == 200, led.text
    found = led.body["floatingip"]
    assert found["port_id"] == port["id"]
    assert found["fixed_ip_address"] == port["fixed_ips"][0]["ip_address"]
    assert neutron.ids("floatingips", f"port_id={port['id']}") == [free["id"]]
    assert neutron.call("DELETE", f"/ports/{port['id']}").status == 204
    shown = neutron.call("GET", path).body["floatingip"]
    assert (shown["port_id"], shown["fixed_ip_address"]) == (None, None)
    assert neutron.call("DELETE", path).status == 204
    gone = neutron.call("GET", path)
    assert (gone.status, gone.body["NeutronError"]["type"]) == (404, "FloatingIPNotFound")


def test_a_floating_ip_tells_which_server_it_leads_to(
    neutron: Neutron, demo: Tenant, make: Make
) -> None:
    server_id = make()
    demo.settled(server_id, "ACTIVE")
    (port,) = neutron.ids("ports", f"device_id={server_id}")
    made = neutron.floating_ip(port_id=port)
    shown = neutron.call("GET", f"/floatingips/{made['id']}").body["floatingip"]
    assert shown["port_details"]["device_id"] == server_id
    demo.call("DELETE", f"/servers/{server_id}")
    demo.gone(server_id)
    until(lambda: neutron.ids("ports", f"device_id={server_id}") == [])
    shown = neutron.call("GET", f"/floatingips/{made['id']}").body["floatingip"]
    assert (shown["port_id"], shown["port_details"]) == (None, None)


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"floating_network_id": NOBODY}, 404, "NetworkNotFound"),
        ({"floating_network_id": "private"}, 400, "BadRequest"),
        ({"floating_network_id": "public", "port_id": NOBODY}, 404, "PortNotFound"),
    ],
)
def test_a_floating_ip_that_cannot_be_is_refused(
    neutron: Neutron, demo: Tenant, fields: dict[str, str], status: int, kind: str
) -> None:
    network = fields["floating_network_id"]
    wanted = network if network == NOBODY else demo.named("network", "networks", network)
    body = {"floatingip": {**fields, "floating_network_id": wanted}}
    refused = neutron.call("POST", "/floatingips", body)
    assert (refused.status, refused.body["NeutronError"]["type"]) == (status, kind)


def test_a_port_takes_one_floating_ip(neutron: Neutron) -> None:
    port = neutron.port()
    neutron.floating_ip(port_id=port["id"])
    second = neutron.floating_ip()
    body = {"floatingip": {"port_id": port["id"]}}
    refused = neutron.call("PUT", f"/floatingips/{second['id']}", body)
    assert refused.status == 409
    assert refused.body["NeutronError"]["type"] == "FloatingIPPortAlreadyAssociated"


Volume = Callable[..., str]


def cinder(demo: Tenant, method: str, path: str, body: object = None) -> Answer:
    return demo.call(method, path, body, service="block_storage")


def status(demo: Tenant, volume_id: str) -> str:
    return str(cinder(demo, "GET", f"/volumes/{volume_id}").body["volume"]["status"])


@pytest.fixture
def volume(demo: Tenant) -> Iterator[Volume]:
    """Makes volumes and deletes them after the test."""
    made: list[str] = []

    def create(**metadata: str) -> str:
        asked = {"size": 1, "name": "conformance", "metadata": metadata}
        answer = cinder(demo, "POST", "/volumes", {"volume": asked})
        assert answer.status == 202, answer.text
        made.append(str(answer.body["volume"]["id"]))
        until(lambda: status(demo, made[-1]) == "available")
        return made[-1]

    yield create
    for volume_id in made:
        cinder(demo, "DELETE", f"/volumes/{volume_id}")


def test_volumes_are_found_by_their_metadata(demo: Tenant, volume: Volume) -> None:
    key, value = new_tag(), uuid.uuid4().hex
    mine, _ = volume(**{key: value, "other": "x"}), volume(**{key: "another"})

    def found(metadata: dict[str, Any]) -> list[str]:
        path = f"/volumes/detail?metadata={json.dumps(metadata)}"
        return [v["id"] for v in cinder(demo, "GET", path).body["volumes"]]

    assert found({key: value}) == [mine]
    assert found({key: value, "other": "x"}) == [mine]
    assert found({key: value, "other": "y"}) == []


def test_volumes_come_in_pages_the_newest_first(demo: Tenant, volume: Volume) -> None:
    made = [volume() for _ in range(2)]
    first = cinder(demo, "GET", "/volumes/detail?limit=1").body
    assert [v["id"] for v in first["volumes"]] == made[1:]
    (link,) = first["volumes_links"]
    assert (link["rel"], link["href"].endswith(f"marker={made[1]}")) == ("next", True)
    second = cinder(demo, "GET", f"/volumes/detail?limit=1&marker={made[1]}").body
    assert [v["id"] for v in second["volumes"]] == made[:1]


def test_a_volume_that_a_server_has_stays(demo: Tenant, make: Make, volume: Volume) -> None:
    server_id, volume_id = make(), volume()
    demo.settled(server_id, "ACTIVE")
    path = f"/servers/{server_id}/os-volume_attachments"
    made = demo.call("POST", path, {"volumeAttachment": {"volumeId": volume_id}})
    assert made.status == 200, made.text
    until(lambda: status(demo, volume_id) == "in-use")
    shown = cinder(demo, "GET", f"/volumes/{volume_id}").body["volume"]
    assert [a["server_id"] for a in shown["attachments"]] == [server_id]
    listed = demo.call("GET", path).body["volumeAttachments"]
    assert [a["volumeId"] for a in listed] == [volume_id]
    refused = cinder(demo, "DELETE", f"/volumes/{volume_id}")
    assert (refused.status, "attached" in refused.message) == (400, True)
    assert demo.call("DELETE", f"{path}/{volume_id}").status == 202
    until(lambda: status(demo, volume_id) == "available")
    assert cinder(demo, "DELETE", f"/volumes/{volume_id}").status == 202


def test_a_volume_is_free_again_when_its_server_is_gone(
    demo: Tenant, make: Make, volume: Volume
) -> None:
    server_id, volume_id = make(), volume()
    demo.settled(server_id, "ACTIVE")
    body = {"volumeAttachment": {"volumeId": volume_id}}
    assert demo.call("POST", f"/servers/{server_id}/os-volume_attachments", body).status == 200
    until(lambda: status(demo, volume_id) == "in-use")
    demo.call("DELETE", f"/servers/{server_id}")
    demo.gone(server_id)
    until(lambda: status(demo, volume_id) == "available")
