"""A server as Nova writes it, by microversion."""

# ruff: noqa: PLR2004  (a microversion is a number)
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from simulator.clock import micros, zulu
from simulator.compute.model import Flavor, Server, status_of
from simulator.network.store import NetworkStore

Json = Mapping[str, object]
_PROGRESS = frozenset({"ACTIVE", "BUILD"})


@dataclass(frozen=True, slots=True)
class Look:
    """Who looks, and how: what a rendered server depends on beside itself."""

    version: int
    admin: bool
    base_url: str
    detail: bool = False  # in a list: no server_groups (nova views, since 2.71)


def links(base_url: str, kind: str, ident: str) -> list[Json]:
    """The self and bookmark links of a compute resource."""
    return [
        {"rel": "self", "href": f"{base_url}/v2.1/{kind}/{ident}"},
        {"rel": "bookmark", "href": f"{base_url}/{kind}/{ident}"},
    ]


def brief(server: Server, base_url: str) -> Json:
    """A server in GET /servers."""
    return {
        "id": server.id,
        "name": server.name,
        "links": links(base_url, "servers", server.id),
    }


def addresses(server: Server, network: NetworkStore) -> dict[str, list[Json]]:
    """Addresses by network name; none while the server is building."""
    found: dict[str, list[Json]] = {}
    if server.vm_state == "building":
        return found
    for port in network.of_device(server.id):
        entry = {
            "version": 4, "addr": port.address, "OS-EXT-IPS:type": "fixed",
            "OS-EXT-IPS-MAC:mac_addr": port.mac,
        }  # fmt: skip
        listed = found.setdefault(network.networks[port.network_id].spec.name, [])
        listed.append(entry)
        floating = network.floating_of(port.id)
        if floating is not None:
            more = {"addr": floating.address, "OS-EXT-IPS:type": "floating"}
            listed.append({**entry, **more})
    return found


def _flavor(flavor: Flavor, look: Look) -> Json:
    if look.version < 47:
        return {"id": flavor.id, "links": links(look.base_url, "flavors", flavor.id)[1:]}
    return {
        "vcpus": flavor.vcpus, "ram": flavor.ram, "disk": flavor.disk, "ephemeral": 0, "swap": 0,
        "original_name": flavor.name, "extra_specs": {},
    }  # fmt: skip


def _image(server: Server, look: Look) -> object:
    if not server.image_id:
        return ""
    bookmark = links(look.base_url, "images", server.image_id)[1:]
    image: dict[str, object] = {"id": server.image_id, "links": bookmark}
    if look.version >= 98:
        image["properties"] = server.image_properties
    return image


def _states(server: Server) -> Json:
    return {
        "OS-EXT-STS:task_state": server.task_state or None,
        "OS-EXT-STS:vm_state": server.vm_state,
        "OS-EXT-STS:power_state": int(server.power_state),
    }


def _when(at: float | None) -> str | None:
    return None if at is None else micros(at)


def _security_groups(server: Server) -> Json:
    """Not there until the server has ports, nor after (as Neutron knows of none)."""
    if server.deleted or server.vm_state in {"building", "error"} or not server.nics:
        return {}
    return {"security_groups": [{"name": name} for name in server.security_groups or ["default"]]}


def _operator_only(server: Server, version: int) -> Json:
    seen: dict[str, object] = {
        "OS-EXT-SRV-ATTR:host": server.host or None,
        "OS-EXT-SRV-ATTR:instance_name": f"instance-{server.seq:08x}",
        "OS-EXT-SRV-ATTR:hypervisor_hostname": server.host or None,
    }
    if version >= 3:
        seen |= {
            "OS-EXT-SRV-ATTR:hostname": server.hostname, "OS-EXT-SRV-ATTR:kernel_id": "",
            "OS-EXT-SRV-ATTR:launch_index": 0, "OS-EXT-SRV-ATTR:ramdisk_id": "",
            "OS-EXT-SRV-ATTR:reservation_id": server.reservation_id,
            "OS-EXT-SRV-ATTR:root_device_name": "/dev/sda" if server.host else None,
            "OS-EXT-SRV-ATTR:user_data": server.user_data,
        }  # fmt: skip
    return seen


def _by_version(server: Server, look: Look) -> dict[str, object]:
    """The fields that came with a microversion."""
    fields: tuple[tuple[int, str, object], ...] = (
        (9, "locked", server.locked),
        (19, "description", server.description),
        (26, "tags", sorted(server.tags)),
        (63, "trusted_image_certificates", server.trusted_certs),
        (73, "locked_reason", server.locked_reason),
        (90, "OS-EXT-SRV-ATTR:hostname", server.hostname),
        (96, "pinned_availability_zone", server.zone),
        (100, "scheduler_hints", server.hints),
    )
    seen: dict[str, object] = {
        name: value for since, name, value in fields if look.version >= since
    }
    if look.version >= 71 and not look.detail:
        seen["server_groups"] = []
    if look.version >= 16 and look.admin:
        seen["host_status"] = "UP" if server.host else ""
    return seen


def full(server: Server, network: NetworkStore, look: Look) -> Json:
    """A server in GET /servers/{id}, in PUT's answer and in GET /servers/detail."""
    status = status_of(server)
    body: dict[str, object] = {
        "accessIPv4": server.access_ipv4, "accessIPv6": server.access_ipv6,
        "addresses": addresses(server, network), "created": zulu(server.created),
        "flavor": _flavor(server.flavor, look), "hostId": server.host_id, "id": server.id,
        "image": _image(server, look), "links": links(look.base_url, "servers", server.id),
        "metadata": server.metadata, "name": server.name, "status": status,
        "tenant_id": server.project_id, "user_id": server.user_id,
        "updated": zulu(server.updated), "OS-DCF:diskConfig": server.disk_config,
    }  # fmt: skip
    if status in {"ERROR", "DELETED"} and server.fault is not None:
        fault = server.fault
        body["fault"] = {
            "code": fault.code,
            "created": zulu(fault.created),
            "message": fault.message,
        }
    if status in _PROGRESS:
        body["progress"] = 0
    volumes = [{"id": v, "delete_on_termination": False} for v in server.volumes]
    body |= {
        "OS-EXT-AZ:availability_zone": "nova" if server.host else "",
        "config_drive": server.config_drive, "key_name": server.key_name,
        "OS-SRV-USG:launched_at": _when(server.launched),
        "OS-SRV-USG:terminated_at": _when(server.terminated),
        "os-extended-volumes:volumes_attached": volumes,
    }  # fmt: skip
    body |= _states(server)
    body |= _security_groups(server)
    body |= _operator_only(server, look.version) if look.admin else {}
    body |= _by_version(server, look)
    return body


def encode(server: Server, network: NetworkStore, look: Look) -> bytes:
    """The JSON of `full`."""
    return json.dumps(full(server, network, look)).encode()
