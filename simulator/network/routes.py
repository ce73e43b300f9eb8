"""The part of Neutron v2.0 that a server's life needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode

from simulator.api import ApiError, Call, Endpoint, Reply, is_array, is_object
from simulator.network import views
from simulator.network.store import AddressTaken, Port

Json = Mapping[str, object]
_PAGING = {"limit", "marker", "sort_key", "sort_dir", "fields", "page_reverse"}
_EXTENSIONS = ("provider", "external-net", "port-security", "security-group", "quotas",
               "quota_details", "standard-attr-tag", "standard-attr-timestamp", "binding",
               "sorting", "pagination", "project-id", "net-mtu", "router")  # fmt: skip


def versions(call: Call) -> Reply:
    """GET / ."""
    links = [{"rel": "self", "href": f"{call.base_url}/v2.0/"}]
    return Reply(200, {"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})


def _fits(item: Json, name: str, wanted: Sequence[str]) -> bool:
    value = item.get(name)
    if isinstance(value, bool):
        return str(value).lower() in {w.lower() for w in wanted}
    if name == "fixed_ips" and is_array(value):
        pairs = [f"{k}={v}" for ip in value if is_object(ip) for k, v in ip.items()]
        return any(w in pairs for w in wanted)
    return str(value) in wanted


def _filtered(call: Call, items: Sequence[Json]) -> list[Json]:
    wanted: dict[str, list[str]] = {}
    for name, value in call.query:
        if name not in _PAGING:
            wanted.setdefault(name, []).append(value)
    return [item for item in items if all(_fits(item, n, w) for n, w in wanted.items())]


def _listing(call: Call, plural: str, items: Sequence[Json]) -> Reply:
    """Filter, cut to the page, keep the fields that were asked for."""
    found = _filtered(call, items)
    marker, limit = call.param("marker"), call.param("limit")
    ids = [item["id"] for item in found]
    if marker in ids:
        found = found[ids.index(marker) + 1 :]
    body: dict[str, object] = {}
    if limit is not None and limit.isdigit() and int(limit):
        found = found[: int(limit)]
        if len(found) == int(limit):
            query = [("limit", limit), ("marker", str(found[-1]["id"]))]
            href = f"{call.base_url}/v2.0/{plural.replace('_', '-')}?{urlencode(query)}"
            body[f"{plural}_links"] = [{"rel": "next", "href": href}]
    fields = [value for name, value in call.query if name == "fields"]
    shown = [{k: v for k, v in item.items() if not fields or k in fields} for item in found]
    return Reply(200, {plural: shown, **body})


def _networks(call: Call) -> list[Json]:
    who, found = call.who, call.world.network.networks.values()
    return [views.network(n) for n in found if n.open_to(who.project_id, admin=who.admin)]


def _subnets(call: Call) -> list[Json]:
    who, found = call.who, call.world.network.networks.values()
    return [views.subnet(n) for n in found if n.open_to(who.project_id, admin=who.admin)]


def _port(call: Call, port: Port) -> Json:
    return views.port(port, call.world.network.networks[port.network_id].subnet_id)


def _ports(call: Call) -> list[Json]:
    store, who = call.world.network, call.who
    device = call.param("device_id")
    found = store.of_device(device) if device else list(store.ports.values())
    return [_port(call, p) for p in found if who.admin or p.project_id == who.project_id]


def _groups(call: Call) -> list[Json]:
    who, found = call.who, call.world.network.groups.values()
    return [views.security_group(g) for g in found if who.admin or g.project_id == who.project_id]


def _rules(call: Call) -> list[Json]:
    rules: list[Json] = []
    for group in _groups(call):
        found = group["security_group_rules"]
        rules += [rule for rule in found if is_object(rule)] if is_array(found) else []
    return rules


def _lists(plural: str, source: Callable[[Call], list[Json]]) -> Callable[[Call], Reply]:
    return lambda call: _listing(call, plural, source(call))


def _shows(
    singular: str, kind: str, words: str, source: Callable[[Call], list[Json]]
) -> Callable[[Call], Reply]:
    def show(call: Call) -> Reply:
        wanted = call.params["id"]
        for item in source(call):
            if item["id"] == wanted:
                return Reply(200, {singular: item})
        raise ApiError(404, words.format(id=wanted), f"{kind}NotFound")

    return show


def _body(call: Call, name: str) -> dict[str, object]:
    body = call.json()
    found = body.get(name) if is_object(body) else None
    if not is_object(found):
        raise ApiError(400, f"Unable to find '{name}' in request body", "HTTPBadRequest")
    return found


def _wanted_address(given: Json) -> str | None:
    fixed = given.get("fixed_ips")
    first = fixed[0] if is_array(fixed) and fixed else None
    address = first.get("ip_address") if is_object(first) else None
    return address if isinstance(address, str) else None


def create_port(call: Call) -> Reply:
    """POST /v2.0/ports."""
    given, store, who = _body(call, "port"), call.world.network, call.who
    network = store.networks.get(str(given.get("network_id")))
    if network is None or not network.open_to(who.project_id, admin=who.admin):
        words = f"Network {given.get('network_id')} could not be found."
        raise ApiError(404, words, "NetworkNotFound")
    mine = sum(p.project_id == who.project_id for p in store.ports.values())
    if 0 <= store.port_quota <= mine:
        raise ApiError(409, "Quota exceeded for resources: ['port'].", "OverQuota")
    try:
        port = store.make(network.id, who.project_id, call.now, _wanted_address(given))
    except AddressTaken as taken:
        words = f"IP address {taken} already allocated in subnet {network.subnet_id}"
        raise ApiError(409, words, "IpAddressAlreadyAllocated") from taken
    port.name, port.description = str(given.get("name", "")), str(given.get("description", ""))
    return Reply(201, {"port": _port(call, port)})


def _own_port(call: Call) -> Port:
    port = call.world.network.ports.get(call.params["id"])
    if port is None or not (call.who.admin or port.project_id == call.who.project_id):
        raise ApiError(404, f"Port {call.params['id']} could not be found.", "PortNotFound")
    return port


def update_port(call: Call) -> Reply:
    """PUT /v2.0/ports/{id}: name and description."""
    port, given = _own_port(call), _body(call, "port")
    port.name = str(given.get("name", port.name))
    port.description = str(given.get("description", port.description))
    port.updated, port.revision = call.now, port.revision + 1
    call.world.network.dirty = True
    return Reply(200, {"port": _port(call, port)})


def delete_port(call: Call) -> Reply:
    """DELETE /v2.0/ports/{id}."""
    call.world.network.remove(_own_port(call).id)
    return Reply(204)


def _quota(call: Call) -> dict[str, int]:
    return {"network": 1000, "subnet": 1000, "subnetpool": -1,
            "port": call.world.network.port_quota, "router": 1000, "floatingip": 4000,
            "rbac_policy": 10, "security_group": 1000, "security_group_rule": 100_000}  # fmt: skip


def show_quota(call: Call) -> Reply:
    """GET /v2.0/quotas/{project_id}."""
    return Reply(200, {"quota": _quota(call)})


def show_quota_details(call: Call) -> Reply:
    """GET /v2.0/quotas/{project_id}/details.json."""
    store, project = call.world.network, call.params["id"]
    used = {
        "port": sum(p.project_id == project for p in store.ports.values()),
        "network": sum(n.owner == project for n in store.networks.values()),
        "subnet": sum(n.owner == project for n in store.networks.values()),
        "security_group": sum(g.project_id == project for g in store.groups.values()),
    }
    body = {
        name: {"limit": limit, "used": used.get(name, 0), "reserved": 0}
        for name, limit in _quota(call).items()
    }
    return Reply(200, {"quota": body})


def extensions(_: Call) -> Reply:
    """GET /v2.0/extensions."""
    found: list[Json] = [
        {"name": alias, "alias": alias, "description": "", "updated": "2020-01-01T00:00:00-00:00",
         "links": []}
        for alias in _EXTENSIONS
    ]  # fmt: skip
    return Reply(200, {"extensions": found})


def _nothing(_: Call) -> list[Json]:
    return []


_COLLECTIONS = (
    ("networks", "network", "Network", "Network {id} could not be found.", _networks),
    ("subnets", "subnet", "Subnet", "Subnet {id} could not be found.", _subnets),
    ("ports", "port", "Port", "Port {id} could not be found.", _ports),
    ("security_groups", "security_group", "SecurityGroup",
     "Security group {id} does not exist", _groups),
    ("security_group_rules", "security_group_rule", "SecurityGroupRule",
     "Security group rule {id} does not exist", _rules),
    ("routers", "router", "Router", "Router {id} could not be found", _nothing),
    ("floatingips", "floatingip", "FloatingIP", "Floating IP {id} could not be found", _nothing),
)  # fmt: skip

ENDPOINTS = (
    Endpoint("GET", "/", versions, open=True),
    Endpoint("POST", "/v2.0/ports", create_port),
    Endpoint("PUT", "/v2.0/ports/{id}", update_port),
    Endpoint("DELETE", "/v2.0/ports/{id}", delete_port),
    Endpoint("GET", "/v2.0/quotas/{id}", show_quota),
    Endpoint("GET", "/v2.0/quotas/{id}/details.json", show_quota_details),
    Endpoint("GET", "/v2.0/extensions", extensions),
    *(
        endpoint
        for plural, singular, kind, words, source in _COLLECTIONS
        for endpoint in (
            Endpoint("GET", "/v2.0/" + plural.replace("_", "-"), _lists(plural, source)),
            Endpoint("GET", f"/v2.0/{plural.replace('_', '-')}/{{id}}",
                     _shows(singular, kind, words, source)),
        )
    ),
)  # fmt: skip
