"""Neutron's lists: filtered, cut to the page, with the fields that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeVar
from urllib.parse import urlencode

from simulator.api import ApiError, Call, Reply, is_array, is_object
from simulator.tagged import FILTERS, fits

Json = Mapping[str, object]
_PAGING = {"limit", "marker", "sort_key", "sort_dir", "fields", "page_reverse"}


class Stored(Protocol):
    """A port or a floating IP."""

    id: str
    project_id: str
    tags: list[str]


T = TypeVar("T", bound=Stored)


def mine(call: Call, found: Mapping[str, T], view: Callable[[T], Json]) -> Iterator[Json]:
    """Those of the caller's that a list may show, from the marker on; views are made one by one."""
    who, marker = call.who, call.param("marker")
    if marker is not None and marker not in found:
        raise ApiError(404, f"{marker} could not be found.", "NotFound")
    tags = _wanted(call, FILTERS)
    tagged = [tag for value in tags.get("tags", ()) for tag in value.split(",")]
    chosen: Iterable[T] = found.values()
    if tagged:
        ids = call.world.network.tagged.ids(tagged[0])
        chosen = [found[i] for i in ids if i in found]
    passed = marker is None
    for item in chosen:
        if passed and fits(item.tags, tags) and (who.admin or item.project_id == who.project_id):
            yield view(item)
        passed = passed or item.id == marker


def behind(call: Call, items: Sequence[Json]) -> Sequence[Json]:
    """Those behind the marker, if there is one."""
    marker = call.param("marker")
    if marker is None:
        return items
    ids = [item["id"] for item in items]
    if marker not in ids:
        raise ApiError(404, f"{marker} could not be found.", "NotFound")
    return items[ids.index(marker) + 1 :]


def listing(call: Call, plural: str, items: Iterable[Json]) -> Reply:
    """One page."""
    filters = _wanted(call, None)
    found = (item for item in items if all(_fits(item, n, w) for n, w in filters.items()))
    limit = call.param("limit")
    most = int(limit) if limit is not None and limit.isdigit() and int(limit) else None
    shown = list(islice(found, most))
    body: dict[str, object] = {}
    if most is not None and len(shown) == most:
        query = [("limit", str(most)), ("marker", str(shown[-1]["id"]))]
        href = f"{call.base_url}/v2.0/{plural.replace('_', '-')}?{urlencode(query)}"
        body[f"{plural}_links"] = [{"rel": "next", "href": href}]
    fields = [value for name, value in call.query if name == "fields"]
    cut = [{k: v for k, v in item.items() if not fields or k in fields} for item in shown]
    return Reply(200, {plural: cut, **body})


def body_of(call: Call, name: str) -> dict[str, object]:
    """The object under `name` in the request's body. ApiError 400 without."""
    body = call.json()
    found = body.get(name) if is_object(body) else None
    if not is_object(found):
        raise ApiError(400, f"Unable to find '{name}' in request body", "HTTPBadRequest")
    return found


def _wanted(call: Call, names: frozenset[str] | None) -> dict[str, list[str]]:
    """The filters of these names; None: all that are not on tags."""
    wanted: dict[str, list[str]] = {}
    for name, value in call.query:
        known = name in names if names is not None else name not in _PAGING | FILTERS
        if known:
            wanted.setdefault(name, []).append(value)
    return wanted


def _fits(item: Json, name: str, wanted: Sequence[str]) -> bool:
    value = item.get(name)
    if isinstance(value, bool):
        return str(value).lower() in {w.lower() for w in wanted}
    if name == "fixed_ips" and is_array(value):
        pairs = [f"{k}={v}" for ip in value if is_object(ip) for k, v in ip.items()]
        return any(w in pairs for w in wanted)
    return str(value) in wanted
