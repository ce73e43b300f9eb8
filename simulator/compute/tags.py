"""The tags of a server (2.26): they never move `updated`, and a lock does not keep them (Nova 33)."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.api import ApiError, Call, Reply, is_array
from simulator.compute import requests
from simulator.compute.metadata import check_settled
from simulator.compute.model import Server
from simulator.compute.servers import find
from simulator.compute.versions import need
from simulator.schema import Invalid, require

SINCE = 26


def _server(call: Call, action: str | None = None) -> Server:
    need(call, SINCE)
    server = find(call, call.params["id"], mapped=True)
    if action is not None:
        check_settled(server, action)
    return server


def _write(call: Call, server: Server, tags: Sequence[str]) -> None:
    server.tags = sorted(dict.fromkeys(tags))
    call.world.compute.servers.edit(server)


def show_all(call: Call) -> Reply:
    """GET /servers/{id}/tags."""
    return Reply(200, {"tags": sorted(_server(call).tags)})


def replace(call: Call) -> Reply:
    """PUT /servers/{id}/tags."""
    need(call, SINCE)
    given = require(requests.TAGS_BODY, call.json())["tags"]
    server = _server(call, "update tags")
    _write(call, server, [str(tag) for tag in given] if is_array(given) else [])
    return Reply(200, {"tags": server.tags})


def clear(call: Call) -> Reply:
    """DELETE /servers/{id}/tags."""
    _write(call, _server(call, "delete tags"), [])
    return Reply(204)


def show(call: Call) -> Reply:
    """GET /servers/{id}/tags/{tag}: 204 if the server has it."""
    server, tag = _server(call), call.params["tag"]
    if tag not in server.tags:
        raise ApiError(404, f"Server {server.id} has no tag '{tag}'")
    return Reply(204)


def put(call: Call) -> Reply:
    """PUT /servers/{id}/tags/{tag}: 201 if it is new, 204 if not."""
    server, tag = _server(call, "update tag"), call.params["tag"]
    _check(tag)
    if len(server.tags) >= requests.MAX_TAGS:
        limit = requests.MAX_TAGS
        raise ApiError(400, f"The number of tags exceeded the per-server limit {limit}")
    if tag in server.tags:
        return Reply(204)
    _write(call, server, [*server.tags, tag])
    location = f"{call.base_url}/v2.1/servers/{server.id}/tags/{tag}"
    return Reply(201, headers={"Location": location})


def _check(tag: str) -> None:
    try:
        requests.TAG.check(tag)
    except Invalid as bad:
        raise ApiError(
            400,
            f"Tag '{tag}' is invalid. It must be a non empty string without characters "
            f"'/' and ','. Validation error message: {bad.message}",
        ) from bad


def delete(call: Call) -> Reply:
    """DELETE /servers/{id}/tags/{tag}."""
    server, tag = _server(call, "delete tag"), call.params["tag"]
    if tag not in server.tags:
        raise ApiError(404, f"Instance {server.id} has no tag '{tag}'")
    _write(call, server, [t for t in server.tags if t != tag])
    return Reply(204)
