"""GET, PUT and DELETE of one server."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.api import ApiError, Call, Reply, is_object
from simulator.compute import requests
from simulator.compute.life import plan_delete
from simulator.compute.model import Action, Event, Server
from simulator.compute.view import Look, encode
from simulator.schema import require


def look_of(call: Call, *, detail: bool = False) -> Look:
    """How this caller sees servers."""
    return Look(call.version, call.who.admin, call.base_url, detail)


def find(call: Call, server_id: str, *, deleted: bool = False, mapped: bool = False) -> Server:
    """A server of the caller's project. ApiError 404 where it is not, or not theirs.

    `mapped`: start, stop and tags look a server's cell up first, and have other words for one
    that never was (nova.api.openstack.compute).
    """
    server = call.world.compute.servers.find(server_id)
    mine = server is not None and (call.who.admin or server.project_id == call.who.project_id)
    if server is None and mapped:
        raise ApiError(404, f"Instance {server_id} has no mapping to a cell.")
    if server is None or not mine or (server.deleted and not deleted):
        raise ApiError(404, f"Instance {server_id} could not be found.")
    return server


def record(call: Call, server: Server, verb: str, event: str | None = None) -> Action:
    """Note an action on the server, with Nova's own request id."""
    action = Action(
        action=verb,
        request_id=call.request_id,
        global_id=call.headers.get("x-openstack-request-id"),
        user_id=call.who.user_id,
        project_id=call.who.project_id,
        start=call.now,
        updated=call.now,
    )
    if event is not None:
        action.events.append(Event(event, call.now))
    server.actions.append(action)
    return action


def check_lock(call: Call, server: Server) -> None:
    """A locked server is changed by operators only."""
    if server.locked and not call.who.admin:
        raise ApiError(409, f"Instance {server.id} is locked")


def show(call: Call) -> Reply:
    """GET /servers/{id}."""
    return _shown(call, find(call, call.params["id"]))


def _shown(call: Call, server: Server) -> Reply:
    look, nova = look_of(call), call.world.compute
    body = nova.servers.cached(server, look, lambda: encode(server, nova.network, look))
    return Reply(200, b'{"server": ' + body + b"}")


def update(call: Call) -> Reply:
    """PUT /servers/{id}: `updated` moves if any field is given, also the same value again.

    A lock does not stop it, nor does any state (both seen on Nova 33).
    """
    body = require(requests.server_update(call.version), call.json())
    server = find(call, call.params["id"])
    given = body["server"]
    if is_object(given) and given:
        _write(server, given)
        call.world.compute.servers.touch(server, call.now)
    return _shown(call, server)


def _write(server: Server, given: Mapping[str, object]) -> None:
    server.name = str(given.get("name", server.name))
    server.hostname = str(given.get("hostname", server.hostname))
    server.disk_config = str(given.get("OS-DCF:diskConfig", server.disk_config))
    server.access_ipv4 = str(given.get("accessIPv4", server.access_ipv4))
    server.access_ipv6 = str(given.get("accessIPv6", server.access_ipv6))
    if "description" in given:
        words = given["description"]
        server.description = None if words is None else str(words)


def delete(call: Call) -> Reply:
    """DELETE /servers/{id}: in any state; once more while it is being deleted is 204 too."""
    server = find(call, call.params["id"])
    check_lock(call, server)
    if server.task_state != "deleting":
        record(call, server, "delete", "compute_terminate_instance")
        nova = call.world.compute
        nova.servers.follow(server, plan_delete(server, nova.timing, call.now))
        nova.servers.advance(call.now)
    return Reply(204)
