"""What Neutron shows of its resources."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.clock import zulu
from simulator.network.model import FloatingIp, Port, SecurityGroup, StoredNetwork
from simulator.seed import named_id

Json = Mapping[str, object]


def _dates(created: float, updated: float, revision: int) -> Json:
    times = {"created_at": zulu(created), "updated_at": zulu(updated)}
    return {**times, "revision_number": revision, "tags": []}


def network(found: StoredNetwork) -> Json:
    """A network."""
    return {
        "id": found.id, "name": found.spec.name, "tenant_id": found.owner,
        "project_id": found.owner, "admin_state_up": True, "mtu": 1450, "status": "ACTIVE",
        "subnets": [found.subnet_id], "shared": found.spec.shared, "availability_zone_hints": [],
        "availability_zones": [], "ipv4_address_scope": None, "ipv6_address_scope": None,
        "router:external": found.spec.external, "qinq": False, "vlan_transparent": False,
        "description": "", "port_security_enabled": True,
        **_dates(found.created, found.created, 2),
    }  # fmt: skip


def subnet(found: StoredNetwork) -> Json:
    """A network's subnet."""
    first, last = found.cidr.network_address + 2, found.cidr.broadcast_address - 1
    return {
        "id": found.subnet_id, "name": f"{found.spec.name}-subnet", "tenant_id": found.owner,
        "project_id": found.owner, "network_id": found.id, "ip_version": 4, "subnetpool_id": None,
        "enable_dhcp": not found.spec.external, "ipv6_ra_mode": None, "ipv6_address_mode": None,
        "gateway_ip": str(found.cidr.network_address + 1), "cidr": found.spec.cidr,
        "allocation_pools": [{"start": str(first), "end": str(last)}], "host_routes": [],
        "dns_nameservers": [] if found.spec.external else ["192.0.2.53"], "description": "",
        "router:external": found.spec.external, "service_types": [],
        **_dates(found.created, found.created, 0),
    }  # fmt: skip


def port(found: Port, subnet_id: str) -> Json:
    """A port."""
    return {
        "id": found.id, "name": found.name, "network_id": found.network_id,
        "tenant_id": found.project_id, "project_id": found.project_id, "mac_address": found.mac,
        "admin_state_up": True, "status": found.status, "device_id": found.device_id,
        "device_owner": found.device_owner,
        "fixed_ips": [{"subnet_id": subnet_id, "ip_address": found.address}],
        "allowed_address_pairs": [], "extra_dhcp_opts": [],
        "security_groups": found.security_groups, "description": found.description,
        "binding:vnic_type": "normal", "port_security_enabled": True,
        **_dates(found.created, found.updated, found.revision), "tags": found.tags,
    }  # fmt: skip


def floating_ip(found: FloatingIp, port: Port | None) -> Json:
    """A floating IP, with what it leads to."""
    details = port and {
        "name": port.name, "network_id": port.network_id, "mac_address": port.mac,
        "admin_state_up": True, "status": port.status, "device_id": port.device_id,
        "device_owner": port.device_owner,
    }  # fmt: skip
    return {
        "id": found.id, "tenant_id": found.project_id, "project_id": found.project_id,
        "floating_ip_address": found.address, "floating_network_id": found.network_id,
        "router_id": named_id("router", found.project_id) if port else None,
        "port_id": found.port_id, "fixed_ip_address": port.address if port else None,
        "status": "ACTIVE" if port else "DOWN", "description": found.description,
        "port_details": details,
        **_dates(found.created, found.updated, found.revision), "tags": found.tags,
    }  # fmt: skip


def _rule(group: SecurityGroup, direction: str, ethertype: str, tcp: int | None) -> Json:
    name = f"{group.id}/{direction}/{ethertype}/{tcp}"
    inner = group.id if direction == "ingress" and tcp is None else None
    return {
        "id": named_id("rule", name), "project_id": group.project_id,
        "tenant_id": group.project_id, "security_group_id": group.id, "ethertype": ethertype,
        "direction": direction, "protocol": "tcp" if tcp else None, "port_range_min": tcp,
        "port_range_max": tcp, "remote_ip_prefix": None, "remote_address_group_id": None,
        "remote_group_id": inner, "description": None,
        **_dates(group.created, group.created, 0),
    }  # fmt: skip


def security_group(found: SecurityGroup) -> Json:
    """A security group with its rules."""
    rules = [_rule(found, "egress", kind, None) for kind in ("IPv4", "IPv6")]
    if found.name == "default":
        rules += [_rule(found, "ingress", kind, None) for kind in ("IPv4", "IPv6")]
    rules += [_rule(found, "ingress", "IPv4", tcp) for tcp in found.tcp_ports]
    return {
        "id": found.id, "name": found.name, "stateful": True, "tenant_id": found.project_id,
        "project_id": found.project_id, "description": found.description, "shared": False,
        "security_group_rules": rules, **_dates(found.created, found.created, 1),
    }  # fmt: skip
