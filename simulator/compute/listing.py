"""GET /servers and /servers/detail: filters, order, pages."""

# ruff: noqa: PLR2004  (a microversion is a number)
from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from urllib.parse import urlencode

from simulator.api import ApiError, Call, Reply
from simulator.clock import parse
from simulator.compute.model import OTHER_STATUSES, STATUSES, Server, status_of
from simulator.compute.servers import look_of
from simulator.compute.view import addresses, brief, encode
from simulator.schema import is_uuid

PAGE = 1000  # nova.conf [api] max_limit
_PAGING = {"limit", "marker", "sort_key", "sort_dir"}
# The filters a tenant may use, and the microversion each came with; others are ignored
# before 2.75 and refused since.
_FILTERS = {
    "name": 1, "status": 1, "image": 1, "flavor": 1, "ip": 1, "reservation_id": 1,
    "changes-since": 1, "all_tenants": 1, "ip6": 5, "tags": 26, "tags-any": 26, "not-tags": 26,
    "not-tags-any": 26, "changes-before": 66, "locked": 73, "availability_zone": 83,
    "config_drive": 83, "key_name": 83, "created_at": 83, "launched_at": 83, "terminated_at": 83,
    "power_state": 83, "task_state": 83, "vm_state": 83, "progress": 83, "user_id": 83,
}  # fmt: skip
# Known to the schema; only operators' are heard.
_OPERATORS = {
    "host", "hostname", "deleted", "uuid", "tenant_id", "project_id", "node", "user_id",
    "vm_state", "task_state", "power_state", "availability_zone", "key_name", "description",
    "launched_at", "created_at", "terminated_at", "config_drive", "instance_type_id", "kernel_id",
    "ramdisk_id", "root_device_name", "display_name", "display_description", "access_ip_v4",
    "access_ip_v6", "auto_disk_config", "cell_name", "changes-before", "disable_terminate",
    "ephemeral_gb", "hidden", "image_ref", "info_cache", "launch_index", "locked_by", "memory_mb",
    "metadata", "progress", "root_gb", "soft_deleted", "system_metadata", "vcpus", "vm_mode",
}  # fmt: skip
_SORT: Mapping[str, Callable[[Server], str | float]] = {
    "created_at": lambda s: s.created,
    "updated_at": lambda s: s.updated,
    "display_name": lambda s: s.name,
    "uuid": lambda s: s.id,
    "vm_state": lambda s: s.vm_state,
    "task_state": lambda s: s.task_state,
    "power_state": lambda s: s.power_state,
    "launched_at": lambda s: s.launched or 0.0,
    "key_name": lambda s: s.key_name or "",
    "user_id": lambda s: s.user_id,
    "project_id": lambda s: s.project_id,
    "image_ref": lambda s: s.image_id,
}
# What a plain page of a tenant's own does not have.
_APART = {"all_tenants", "deleted", "tags"}
Test = Callable[[Server], bool]


def index(call: Call) -> Reply:
    """GET /servers."""
    found, limit = _page(call)
    body: dict[str, object] = {"servers": [brief(s, call.base_url) for s in found]}
    if found and len(found) == limit:
        body["servers_links"] = [{"rel": "next", "href": _next(call, "servers", found[-1])}]
    return Reply(200, body)


def detail(call: Call) -> Reply:
    """GET /servers/detail: the JSON of a server that has not changed is not written again."""
    found, limit = _page(call)
    look, nova = look_of(call, detail=True), call.world.compute

    def encoded(server: Server) -> bytes:
        return nova.servers.cached(server, look, lambda: encode(server, nova.network, look))

    body = b'{"servers": [' + b", ".join(encoded(s) for s in found) + b"]"
    if found and len(found) == limit:
        following = [{"rel": "next", "href": _next(call, "servers/detail", found[-1])}]
        body += b', "servers_links": ' + json.dumps(following).encode()
    return Reply(200, body + b"}")


def _next(call: Call, path: str, last: Server) -> str:
    query = sorted((name, value) for name, value in call.query if name != "marker")
    return f"{call.base_url}/v2.1/{path}?{urlencode([*query, ('marker', last.id)])}"


def _page(call: Call) -> tuple[Sequence[Server], int]:
    wanted = _wanted(call)
    _check_query(call)
    since, before = _times(wanted)
    tests = _tests(call, wanted, before)
    found = (s for s in _found(call, wanted, since, before) if all(test(s) for test in tests))
    limit = _limit(call)
    return list(islice(found, limit)), limit


def _found(
    call: Call, wanted: Mapping[str, list[str]], since: float | None, before: float | None
) -> Iterable[Server]:
    """In the order asked for, from the marker on. A plain page costs what is on it."""
    last = _marker(call)
    sorted_ = any(name == "sort_key" for name, _ in call.query)
    if since is before is None and not sorted_ and not _APART & wanted.keys():
        return call.world.compute.servers.after(call.who.project_id, last)
    found = _ordered(call, _source(call, wanted, since, before))
    return found if last is None else _behind(found, last, in_order=not sorted_)


def _wanted(call: Call) -> dict[str, list[str]]:
    """The filters that this caller may use at this microversion."""
    found: dict[str, list[str]] = {}
    for name, value in call.query:
        known = _FILTERS.get(name, 1000) <= call.version
        if known or (call.who.admin and name in _OPERATORS):
            found.setdefault(name, []).append(value)
    return found


def _check_query(call: Call) -> None:
    for name, value in call.query:
        known = name in _PAGING or name in _OPERATORS or name.startswith("_")
        known = known or _FILTERS.get(name, 1000) <= call.version
        if not known and call.version >= 75:
            raise ApiError(400, f"'{name}' does not match any of the regexes: '^_'")
        if name == "limit" and not re.fullmatch("[0-9]*", value):
            raise _bad_query(name, value, "does not match '^[0-9]*$'")


def _bad_query(name: str, value: str, words: str) -> ApiError:
    return ApiError(
        400, f"Invalid input for query parameters {name}. Value: {value}. {value!r} {words}"
    )


def _time(wanted: Mapping[str, list[str]], name: str) -> float | None:
    values = wanted.get(name)
    if not values:
        return None
    try:
        return parse(values[-1])
    except ValueError as error:
        raise _bad_query(name, values[-1], "is not a 'date-time'") from error


def _times(wanted: Mapping[str, list[str]]) -> tuple[float | None, float | None]:
    since, before = _time(wanted, "changes-since"), _time(wanted, "changes-before")
    if since is not None and before is not None and before < since:
        words = "The value of changes-since must be less than or equal to changes-before."
        raise ApiError(400, words)
    return since, before


def _source(call: Call, wanted: Mapping[str, list[str]], since: float | None,
            before: float | None) -> Iterable[Server]:  # fmt: skip
    """The servers to choose from, the oldest first.

    With changes-since or changes-before the deleted ones are among them, for tenants too.
    """
    table, who = call.world.compute.servers, call.who
    everyone = wanted.get("all_tenants", ["0"])[-1].lower() in {"1", "true", "", "t", "yes", "on"}
    if everyone and not who.admin:
        kind = "detail" if "detail" in call.params.get("kind", "") else "index"
        raise ApiError(
            403,
            f"Policy doesn't allow os_compute_api:servers:{kind}:get_all_tenants to be performed.",
        )
    project = None if everyone else who.project_id
    if since is not None:
        found = table.changed_since(since)
    elif "tags" in wanted and before is None and "deleted" not in wanted:
        found = table.tagged(wanted["tags"][-1].split(",")[0])
    elif before is not None or _true(wanted, "deleted"):
        found = sorted(table.everything(), key=lambda s: s.seq)
    else:
        return table.live(project)
    return [s for s in found if project is None or s.project_id == project]


def _true(wanted: Mapping[str, list[str]], name: str) -> bool:
    return wanted.get(name, [""])[-1].lower() in {"1", "true", "t", "yes", "on"}


def _tests(call: Call, wanted: Mapping[str, list[str]], before: float | None) -> list[Test]:
    tests: list[Test] = []
    if before is not None:
        tests.append(lambda s: int(s.updated) <= before)
    if "deleted" in wanted:
        gone = _true(wanted, "deleted")
        tests.append(lambda s: s.deleted == gone)
    if "status" in wanted:
        tests.append(_status_test(call, wanted["status"]))
    for name, build in _PLAIN.items():
        if name in wanted:
            tests.append(build(wanted[name][-1]))
    if "ip" in wanted:
        network, regex = call.world.network, _regex(wanted["ip"][-1])
        tests.append(lambda s: any(regex.search(str(a["addr"]))
                                   for found in addresses(s, network).values() for a in found))  # fmt: skip
    return tests


def _status_test(call: Call, values: Sequence[str]) -> Test:
    statuses = {value.upper() for value in values}
    if not statuses & (STATUSES | OTHER_STATUSES):
        if call.version >= 38:
            raise ApiError(400, "Invalid status value")
        return lambda _: False
    if "DELETED" in statuses and not call.who.admin:
        raise ApiError(403, "Only administrators may list deleted instances")
    return lambda s: status_of(s) in statuses


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error:
        return re.compile(re.escape(text), re.IGNORECASE)


def _name(text: str) -> Test:
    regex = _regex(text)
    return lambda s: regex.search(s.name) is not None


def _all_tags(text: str) -> Test:
    tags = set(text.split(","))
    return lambda s: tags <= set(s.tags)


def _any_tag(text: str) -> Test:
    tags = set(text.split(","))
    return lambda s: bool(tags & set(s.tags))


def _equals(read: Callable[[Server], object]) -> Callable[[str], Test]:
    return lambda text: lambda s: str(read(s)) == text


_PLAIN: Mapping[str, Callable[[str], Test]] = {
    "name": _name,
    "tags": _all_tags,
    "tags-any": _any_tag,
    "not-tags": lambda text: lambda s: not _all_tags(text)(s),
    "not-tags-any": lambda text: lambda s: not _any_tag(text)(s),
    "flavor": _equals(lambda s: s.flavor.id),
    "image": _equals(lambda s: s.image_id),
    "reservation_id": _equals(lambda s: s.reservation_id),
    "uuid": _equals(lambda s: s.id),
    "host": _equals(lambda s: s.host),
    "project_id": _equals(lambda s: s.project_id),
    "tenant_id": _equals(lambda s: s.project_id),
    "user_id": _equals(lambda s: s.user_id),
    "vm_state": _equals(lambda s: s.vm_state),
    "task_state": _equals(lambda s: s.task_state),
    "key_name": _equals(lambda s: s.key_name),
    "locked": lambda text: lambda s: s.locked == (text.lower() in {"1", "true", "t", "yes", "on"}),
}


def _ordered(call: Call, servers: Iterable[Server]) -> Iterable[Server]:
    """The newest first, unless sort_key says otherwise; the seq breaks ties."""
    keys = [v for n, v in call.query if n == "sort_key" and v in _SORT]
    dirs = [v for n, v in call.query if n == "sort_dir"]
    newest_first = reversed(list(servers))
    if not keys:
        return newest_first
    found = list(newest_first)
    for i, key in reversed(list(enumerate(keys))):
        down = (dirs[i] if i < len(dirs) else dirs[0] if dirs else "desc") == "desc"
        found.sort(key=_SORT[key], reverse=down)
    return found


def _limit(call: Call) -> int:
    text = call.param("limit")
    return PAGE if not text else min(int(text), PAGE)


def _marker(call: Call) -> Server | None:
    marker = call.param("marker")
    if marker is None:
        return None
    found = call.world.compute.servers.find(marker) if is_uuid(marker) else None
    if found is None:
        raise ApiError(400, f"marker [{marker}] not found")
    return found


def _behind(found: Iterable[Server], last: Server, *, in_order: bool) -> Iterable[Server]:
    """What follows the last one, which may have left the list meanwhile."""
    seen = False
    for server in found:
        if server.seq < last.seq if in_order else seen:
            yield server
        seen = seen or server is last
