"""Neutron's ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simulator.api import ApiError, Call, Reply, is_array, is_object
from simulator.network import views
from simulator.network.listing import Json, body_of, listing, mine
from simulator.network.model import Port
from simulator.network.store import AddressTaken


def view(call: Call, port: Port) -> Json:
    """A port as the caller sees it."""
    return views.port(port, call.world.network.networks[port.network_id].subnet_id)


def own(call: Call) -> Port:
    """The port that the path names, if it is the caller's; ApiError 404."""
    port = call.world.network.ports.get(call.params["id"])
    if port is None or not (call.who.admin or port.project_id == call.who.project_id):
        raise ApiError(404, f"Port {call.params['id']} could not be found.", "PortNotFound")
    return port


def show_on_server(call: Call, port: Port) -> None:
    """What a port or its floating IP is shows on its server too."""
    server = call.world.compute.servers.find(port.device_id)
    if server is not None:
        call.world.compute.servers.edit(server)


def index(call: Call) -> Reply:
    """GET /v2.0/ports."""
    return listing(call, "ports", _found(call))


def _found(call: Call) -> Iterator[Json]:
    store, device = call.world.network, call.param("device_id")
    found: Mapping[str, Port] = store.owned(None if call.who.admin else call.who.project_id)
    if device:
        found = {port.id: port for port in store.of_device(device)}
    return mine(call, found, lambda port: view(call, port))


def show(call: Call) -> Reply:
    """GET /v2.0/ports/{id}."""
    return Reply(200, {"port": view(call, own(call))})


def _wanted_address(given: Json) -> str | None:
    fixed = given.get("fixed_ips")
    first = fixed[0] if is_array(fixed) and fixed else None
    address = first.get("ip_address") if is_object(first) else None
    return address if isinstance(address, str) else None


def _check_quota(call: Call) -> None:
    store = call.world.network
    if 0 <= store.port_quota <= len(store.owned(call.who.project_id)):
        raise ApiError(409, "Quota exceeded for resources: ['port'].", "OverQuota")


def create(call: Call) -> Reply:
    """POST /v2.0/ports. Tags are not taken here (seen on Neutron 2026.1): they are set after."""
    given, store, who = body_of(call, "port"), call.world.network, call.who
    network = store.networks.get(str(given.get("network_id")))
    if network is None or not network.open_to(who.project_id, admin=who.admin):
        words = f"Network {given.get('network_id')} could not be found."
        raise ApiError(404, words, "NetworkNotFound")
    _check_quota(call)
    try:
        port = store.make(network.id, who.project_id, call.now, _wanted_address(given))
    except AddressTaken as taken:
        words = f"IP address {taken} already allocated in subnet {network.subnet_id}"
        raise ApiError(409, words, "IpAddressAlreadyAllocated") from taken
    port.device_owner = str(given.get("device_owner", ""))
    store.own(port, str(given.get("device_id", "")))
    port.name, port.description = str(given.get("name", "")), str(given.get("description", ""))
    return Reply(201, {"port": view(call, port)})


def update(call: Call) -> Reply:
    """PUT /v2.0/ports/{id}: name, description and what it is for."""
    port, given = own(call), body_of(call, "port")
    port.name = str(given.get("name", port.name))
    port.description = str(given.get("description", port.description))
    port.device_owner = str(given.get("device_owner", port.device_owner))
    if "device_id" in given:
        call.world.network.own(port, str(given["device_id"]))
    port.updated, port.revision = call.now, port.revision + 1
    call.world.network.touch(port)
    return Reply(200, {"port": view(call, port)})


def delete(call: Call) -> Reply:
    """DELETE /v2.0/ports/{id}."""
    port = own(call)
    call.world.network.remove(port.id)
    show_on_server(call, port)
    return Reply(204)
