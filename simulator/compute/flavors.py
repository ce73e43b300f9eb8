"""The sizes of servers."""

# ruff: noqa: PLR2004  (a microversion is a number)
from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from simulator.api import ApiError, Call, Reply
from simulator.compute.model import Flavor
from simulator.compute.view import links

PAGE = 1000


def _brief(call: Call, flavor: Flavor) -> dict[str, object]:
    described = {"description": None} if call.version >= 55 else {}
    found = links(call.base_url, "flavors", flavor.id)
    return {"id": flavor.id, "name": flavor.name, "links": found, **described}


def _full(call: Call, flavor: Flavor) -> dict[str, object]:
    body = _brief(call, flavor) | {
        "ram": flavor.ram, "disk": flavor.disk, "OS-FLV-EXT-DATA:ephemeral": 0,
        "vcpus": flavor.vcpus, "os-flavor-access:is_public": True,
        "swap": 0 if call.version >= 75 else "",
    }  # fmt: skip
    if call.version >= 61:
        body["extra_specs"] = {}
    if call.version < 102:
        body |= {"OS-FLV-DISABLED:disabled": False, "rxtx_factor": 1.0}
    return body


def _page(call: Call) -> tuple[Sequence[Flavor], str | None]:
    flavors = sorted(call.world.compute.flavors.values(), key=lambda f: f.id)
    marker, limit = call.param("marker"), call.param("limit") or str(PAGE)
    if marker is not None:
        if marker not in call.world.compute.flavors:
            raise ApiError(400, f"marker [{marker}] not found")
        flavors = flavors[[f.id for f in flavors].index(marker) + 1 :]
    if not limit.isdigit():
        words = f"Invalid input for query parameters limit. Value: {limit}. "
        raise ApiError(400, words + f"{limit!r} does not match '^[0-9]*$'")
    shown = flavors[: int(limit)]
    return shown, shown[-1].id if shown and len(shown) == int(limit) else None


def _listing(
    path: str, view: Callable[[Call, Flavor], dict[str, object]]
) -> Callable[[Call], Reply]:
    def listing(call: Call) -> Reply:
        flavors, last = _page(call)
        body: dict[str, object] = {"flavors": [view(call, flavor) for flavor in flavors]}
        if last is not None:
            query = sorted((n, v) for n, v in call.query if n != "marker")
            href = f"{call.base_url}/v2.1/{path}?{urlencode([*query, ('marker', last)])}"
            body["flavors_links"] = [{"rel": "next", "href": href}]
        return Reply(200, body)

    return listing


list_flavors = _listing("flavors", _brief)
detail_flavors = _listing("flavors/detail", _full)


def _find(call: Call) -> Flavor:
    flavor = call.world.compute.flavors.get(call.params["id"])
    if flavor is None:
        raise ApiError(404, f"Flavor {call.params['id']} could not be found.")
    return flavor


def show_flavor(call: Call) -> Reply:
    """GET /flavors/{id}."""
    return Reply(200, {"flavor": _full(call, _find(call))})


def extra_specs(call: Call) -> Reply:
    """GET /flavors/{id}/os-extra_specs: none is set here."""
    _find(call)
    return Reply(200, {"extra_specs": {}})
