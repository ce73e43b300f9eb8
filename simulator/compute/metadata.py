"""The metadata of a server.

Writing it moves `updated`, also with what was there already; deleting an item does not (Nova 33).
"""

from __future__ import annotations

from collections.abc import Mapping

from simulator.api import ApiError, Call, Reply, is_object
from simulator.compute import requests
from simulator.compute.model import Server
from simulator.compute.servers import check_lock, find
from simulator.schema import require

SETTLED = frozenset({"active", "paused", "suspended", "stopped"})


def check_settled(server: Server, action: str) -> None:
    """Metadata and tags are written in these states only: not in BUILD, not in ERROR."""
    if server.vm_state not in SETTLED:
        words = f"Cannot '{action}' instance {server.id} while it is in vm_state {server.vm_state}"
        raise ApiError(409, words)


def _texts(value: object) -> dict[str, str]:
    return {k: str(v) for k, v in value.items()} if is_object(value) else {}


def _write(call: Call, server: Server, metadata: Mapping[str, str]) -> None:
    check_lock(call, server)
    check_settled(server, "update metadata")
    limit = call.world.compute.quotas[call.who.project_id].metadata_items
    if 0 <= limit < len(metadata):
        raise ApiError(403, f"Maximum number of metadata items exceeds {limit}")
    server.metadata = dict(metadata)
    call.world.compute.servers.touch(server, call.now)


def show_all(call: Call) -> Reply:
    """GET /servers/{id}/metadata."""
    return Reply(200, {"metadata": find(call, call.params["id"]).metadata})


def add(call: Call) -> Reply:
    """POST /servers/{id}/metadata: these beside what is there."""
    given = _texts(require(requests.METADATA_BODY, call.json())["metadata"])
    server = find(call, call.params["id"])
    _write(call, server, server.metadata | given)
    return Reply(200, {"metadata": server.metadata})


def replace(call: Call) -> Reply:
    """PUT /servers/{id}/metadata: these instead of what is there."""
    given = _texts(require(requests.METADATA_BODY, call.json())["metadata"])
    server = find(call, call.params["id"])
    _write(call, server, given)
    return Reply(200, {"metadata": server.metadata})


def _item(server: Server, key: str) -> str:
    if key not in server.metadata:
        raise ApiError(404, "Metadata item was not found")
    return server.metadata[key]


def show(call: Call) -> Reply:
    """GET /servers/{id}/metadata/{key}."""
    key = call.params["key"]
    return Reply(200, {"meta": {key: _item(find(call, call.params["id"]), key)}})


def put(call: Call) -> Reply:
    """PUT /servers/{id}/metadata/{key}."""
    given = _texts(require(requests.META_ITEM, call.json())["meta"])
    server = find(call, call.params["id"])
    if call.params["key"] not in given:
        raise ApiError(400, "Request body and URI mismatch")
    _write(call, server, server.metadata | given)
    return Reply(200, {"meta": given})


def delete(call: Call) -> Reply:
    """DELETE /servers/{id}/metadata/{key}."""
    server = find(call, call.params["id"])
    _item(server, call.params["key"])
    check_lock(call, server)
    check_settled(server, "delete metadata")
    del server.metadata[call.params["key"]]
    call.world.compute.servers.edit(server)
    return Reply(204)
