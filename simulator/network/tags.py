"""The tags of ports and floating IPs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulator.api import ApiError, Call, Endpoint, Reply, is_array, is_object
from simulator.network import floating, ports
from simulator.network.model import FloatingIp, Port

_LONGEST, _MOST = 255, 50
Find = Callable[[Call], Port | FloatingIp]


def _bad(words: str) -> ApiError:
    return ApiError(400, f"Invalid input for operation: {words}.", "InvalidInput")


def _given(call: Call) -> Sequence[str]:
    body = call.json()
    given = body.get("tags") if is_object(body) else None
    if not is_object(body) or "tags" not in body:
        raise _bad("Invalid tags body")
    if not is_array(given):
        raise _bad(f"'{given}' is not a list")
    tags = [str(tag) for tag in given]
    for tag in tags:
        _check(tag)
    if len(set(tags)) < len(tags):
        raise _bad(f"Duplicate items in the list: '{', '.join(tags)}'")
    return tags


def _check(tag: str) -> None:
    if len(tag) > _LONGEST:
        raise _bad(f"'{tag}' exceeds maximum length of {_LONGEST}")


def _write(call: Call, found: Port | FloatingIp, tags: Sequence[str]) -> None:
    if len(tags) > _MOST:
        plural = "ports" if isinstance(found, Port) else "floatingips"
        words = f"The number of tags exceed the per-resource limit of {_MOST}"
        raise ApiError(400, f"Bad {plural} request: {words}.", "BadRequest")
    call.world.network.tag(found, tags, call.now)


def _had(call: Call, found: Port | FloatingIp) -> str:
    tag = call.params["tag"]
    if tag not in found.tags:
        raise ApiError(404, f"Tag {tag} could not be found.", "TagNotFound")
    return tag


def _of(plural: str, find: Find) -> Sequence[Endpoint]:
    def show_all(call: Call) -> Reply:
        return Reply(200, {"tags": find(call).tags})

    def replace(call: Call) -> Reply:
        tags, found = _given(call), find(call)
        _write(call, found, tags)
        return Reply(200, {"tags": list(tags)})

    def clear(call: Call) -> Reply:
        _write(call, find(call), ())
        return Reply(204)

    def show(call: Call) -> Reply:
        _had(call, find(call))
        return Reply(204)

    def put(call: Call) -> Reply:
        tag, found = call.params["tag"], find(call)
        _check(tag)
        if tag not in found.tags:
            _write(call, found, [*found.tags, tag])
        return Reply(201)

    def delete(call: Call) -> Reply:
        found = find(call)
        gone = _had(call, found)
        _write(call, found, [tag for tag in found.tags if tag != gone])
        return Reply(204)

    path = f"/v2.0/{plural}/{{id}}/tags"
    return (
        Endpoint("GET", path, show_all),
        Endpoint("PUT", path, replace),
        Endpoint("DELETE", path, clear),
        Endpoint("GET", path + "/{tag}", show),
        Endpoint("PUT", path + "/{tag}", put),
        Endpoint("DELETE", path + "/{tag}", delete),
    )


ENDPOINTS = (*_of("ports", ports.own), *_of("floatingips", floating.own))
