"""Nova's routes."""

from __future__ import annotations

from simulator.api import Call, Endpoint, Reply
from simulator.compute import (
    actions,
    flavors,
    keypairs,
    listing,
    metadata,
    quotas,
    servers,
    tags,
    volumes,
)
from simulator.compute.create import create
from simulator.compute.servers import find
from simulator.compute.versions import version, versions
from simulator.compute.view import Json, addresses


def zones(_: Call) -> Reply:
    """GET /os-availability-zone."""
    zone = {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}
    return Reply(200, {"availabilityZoneInfo": [zone]})


def server_groups(_: Call) -> Reply:
    """GET /os-server-groups: there are none."""
    return Reply(200, {"server_groups": []})


def extensions(_: Call) -> Reply:
    """GET /extensions: what came of them is told by microversions."""
    return Reply(200, {"extensions": []})


def server_addresses(call: Call) -> Reply:
    """GET /servers/{id}/ips."""
    server = find(call, call.params["id"])
    found = addresses(server, call.world.network)
    plain = {n: [{"version": 4, "addr": a["addr"]} for a in ips] for n, ips in found.items()}
    return Reply(200, {"addresses": plain})


def server_interfaces(call: Call) -> Reply:
    """GET /servers/{id}/os-interface."""
    server, network = find(call, call.params["id"]), call.world.network
    found = [
        {
            "port_state": port.status, "port_id": port.id, "net_id": port.network_id,
            "mac_addr": port.mac,
            "fixed_ips": [{"subnet_id": network.networks[port.network_id].subnet_id,
                           "ip_address": port.address}],
        }
        for port in network.of_device(server.id)
    ]  # fmt: skip
    return Reply(200, {"interfaceAttachments": found})


def server_security_groups(call: Call) -> Reply:
    """GET /servers/{id}/os-security-groups."""
    server = find(call, call.params["id"])
    names = server.security_groups or ["default"]
    found = [call.world.network.group(server.project_id, name) for name in names]
    body: list[Json] = [
        {"id": g.id, "name": g.name, "description": g.description, "tenant_id": g.project_id,
         "rules": []}
        for g in found
        if g is not None
    ]  # fmt: skip
    return Reply(200, {"security_groups": body})


_SERVER = "/servers/{id}"
_UNDER = (
    ("GET", "/servers", listing.index),
    ("GET", "/servers/detail", listing.detail),
    ("POST", "/servers", create),
    ("GET", _SERVER, servers.show),
    ("PUT", _SERVER, servers.update),
    ("DELETE", _SERVER, servers.delete),
    ("POST", _SERVER + "/action", actions.act),
    ("GET", _SERVER + "/metadata", metadata.show_all),
    ("POST", _SERVER + "/metadata", metadata.add),
    ("PUT", _SERVER + "/metadata", metadata.replace),
    ("GET", _SERVER + "/metadata/{key}", metadata.show),
    ("PUT", _SERVER + "/metadata/{key}", metadata.put),
    ("DELETE", _SERVER + "/metadata/{key}", metadata.delete),
    ("GET", _SERVER + "/tags", tags.show_all),
    ("PUT", _SERVER + "/tags", tags.replace),
    ("DELETE", _SERVER + "/tags", tags.clear),
    ("GET", _SERVER + "/tags/{tag}", tags.show),
    ("PUT", _SERVER + "/tags/{tag}", tags.put),
    ("DELETE", _SERVER + "/tags/{tag}", tags.delete),
    ("GET", _SERVER + "/os-instance-actions", actions.list_actions),
    ("GET", _SERVER + "/os-instance-actions/{request_id}", actions.show_action),
    ("GET", _SERVER + "/ips", server_addresses),
    ("GET", _SERVER + "/os-interface", server_interfaces),
    ("GET", _SERVER + "/os-volume_attachments", volumes.index),
    ("POST", _SERVER + "/os-volume_attachments", volumes.attach),
    ("DELETE", _SERVER + "/os-volume_attachments/{volume_id}", volumes.detach),
    ("GET", _SERVER + "/os-security-groups", server_security_groups),
    ("GET", "/flavors", flavors.list_flavors),
    ("GET", "/flavors/detail", flavors.detail_flavors),
    ("GET", "/flavors/{id}", flavors.show_flavor),
    ("GET", "/flavors/{id}/os-extra_specs", flavors.extra_specs),
    ("GET", "/os-keypairs", keypairs.list_keypairs),
    ("POST", "/os-keypairs", keypairs.create_keypair),
    ("GET", "/os-keypairs/{name}", keypairs.show_keypair),
    ("DELETE", "/os-keypairs/{name}", keypairs.delete_keypair),
    ("GET", "/limits", quotas.limits),
    ("GET", "/os-quota-sets/{id}", quotas.show_quota),
    ("GET", "/os-availability-zone", zones),
    ("GET", "/os-server-groups", server_groups),
    ("GET", "/extensions", extensions),
)
ENDPOINTS = (
    Endpoint("GET", "/", versions, open=True),
    Endpoint("GET", "/v2.1", version, open=True),
    Endpoint("GET", "/v2.1/", version, open=True),
    *(Endpoint(method, "/v2.1" + path, handler) for method, path, handler in _UNDER),
)
