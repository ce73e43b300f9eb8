"""The part of Neutron v2.0 that a server's life needs."""

from __future__ import annotations

from collections.abc import Callable

from simulator.api import ApiError, Call, Endpoint, Reply, is_array, is_object
from simulator.network import floating, ports, tags, views
from simulator.network.listing import Json, behind, listing

_EXTENSIONS = ("provider", "external-net", "port-security", "security-group", "quotas",
               "quota_details", "standard-attr-tag", "standard-attr-timestamp", "binding",
               "fip-port-details",
               "sorting", "pagination", "project-id", "net-mtu", "router")  # fmt: skip


def versions(call: Call) -> Reply:
    """GET / ."""
    links = [{"rel": "self", "href": f"{call.base_url}/v2.0/"}]
    return Reply(200, {"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})


def _networks(call: Call) -> list[Json]:
    who, found = call.who, call.world.network.networks.values()
    return [views.network(n) for n in found if n.open_to(who.project_id, admin=who.admin)]


def _subnets(call: Call) -> list[Json]:
    who, found = call.who, call.world.network.networks.values()
    return [views.subnet(n) for n in found if n.open_to(who.project_id, admin=who.admin)]


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
    return lambda call: listing(call, plural, behind(call, source(call)))


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
        "port": len(store.owned(project)),
        "floatingip": sum(f.project_id == project for f in store.floating.values()),
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
    ("security_groups", "security_group", "SecurityGroup",
     "Security group {id} does not exist", _groups),
    ("security_group_rules", "security_group_rule", "SecurityGroupRule",
     "Security group rule {id} does not exist", _rules),
    ("routers", "router", "Router", "Router {id} could not be found", _nothing),
)  # fmt: skip

ENDPOINTS = (
    Endpoint("GET", "/", versions, open=True),
    *(
        endpoint
        for path, found in (("/v2.0/ports", ports), ("/v2.0/floatingips", floating))
        for endpoint in (
            Endpoint("GET", path, found.index),
            Endpoint("POST", path, found.create),
            Endpoint("GET", path + "/{id}", found.show),
            Endpoint("PUT", path + "/{id}", found.update),
            Endpoint("DELETE", path + "/{id}", found.delete),
        )
    ),
    *tags.ENDPOINTS,
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
