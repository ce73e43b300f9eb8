"""Neutron's floating IPs."""

from __future__ import annotations

from simulator.api import ApiError, Call, Reply
from simulator.network import views
from simulator.network.listing import Json, body_of, listing, mine
from simulator.network.model import FloatingIp, Port
from simulator.network.ports import show_on_server
from simulator.network.store import AddressTaken


def own(call: Call) -> FloatingIp:
    """The floating IP that the path names, if it is the caller's; ApiError 404."""
    found = call.world.network.floating.get(call.params["id"])
    if found is None or not (call.who.admin or found.project_id == call.who.project_id):
        words = f"Floating IP {call.params['id']} could not be found"
        raise ApiError(404, words, "FloatingIPNotFound")
    return found


def _view(call: Call, found: FloatingIp) -> Json:
    return views.floating_ip(found, call.world.network.ports.get(found.port_id or ""))


def index(call: Call) -> Reply:
    """GET /v2.0/floatingips."""
    found = call.world.network.floating
    return listing(call, "floatingips", mine(call, found, lambda each: _view(call, each)))


def show(call: Call) -> Reply:
    """GET /v2.0/floatingips/{id}."""
    return Reply(200, {"floatingip": _view(call, own(call))})


def create(call: Call) -> Reply:
    """POST /v2.0/floatingips."""
    given, store = body_of(call, "floatingip"), call.world.network
    wanted = str(given.get("floating_network_id"))
    network = store.networks.get(wanted)
    if network is None:
        raise ApiError(404, f"Network {wanted} could not be found.", "NetworkNotFound")
    if not network.spec.external:
        words = f"Network {wanted} is not a valid external network"
        raise ApiError(400, f"Bad floatingip request: {words}.", "BadRequest")
    port = _port(call, given)
    try:
        made = store.lend(network.id, call.who.project_id, call.now)
    except AddressTaken as taken:
        words = f"No more IP addresses available on network {network.id}."
        raise ApiError(409, words, "IpAddressGenerationFailure") from taken
    made.description = str(given.get("description", ""))
    _lead(call, made, port)
    return Reply(201, {"floatingip": _view(call, made)})


def update(call: Call) -> Reply:
    """PUT /v2.0/floatingips/{id}: what it leads to, and its description."""
    found, given = own(call), body_of(call, "floatingip")
    found.description = str(given.get("description", found.description))
    if "port_id" in given:
        _lead(call, found, _port(call, given))
    return Reply(200, {"floatingip": _view(call, found)})


def delete(call: Call) -> Reply:
    """DELETE /v2.0/floatingips/{id}."""
    found = own(call)
    _lead(call, found, None)
    call.world.network.give_back(found)
    return Reply(204)


def _port(call: Call, given: Json) -> Port | None:
    """The port that is to be led to; ApiError 404 if there is none such, 409 if it has another."""
    wanted = given.get("port_id")
    if not wanted:
        return None
    store = call.world.network
    port = store.ports.get(str(wanted))
    if port is None or not (call.who.admin or port.project_id == call.who.project_id):
        raise ApiError(404, f"Port {wanted} could not be found.", "PortNotFound")
    other = store.floating_of(port.id)
    if other is not None and other.id != call.params.get("id"):
        words = (
            f"Cannot associate floating IP {other.address} ({other.id}) with port {port.id} using "
            f"fixed IP {port.address}, as that fixed IP already has a floating IP on external "
            f"network {other.network_id}."
        )
        raise ApiError(409, words, "FloatingIPPortAlreadyAssociated")
    return port


def _lead(call: Call, found: FloatingIp, port: Port | None) -> None:
    store = call.world.network
    before = store.ports.get(found.port_id or "")
    store.lead(found, port.id if port else None, call.now)
    for each in (before, port):
        if each is not None:
            show_on_server(call, each)
