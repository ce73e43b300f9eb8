"""What Neutron keeps: networks, ports, floating IPs, security groups."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulator.seed import Network

COMPUTE_OWNER = "compute:nova"


@dataclass(frozen=True, slots=True)
class StoredNetwork:
    """A network with its ids; `owner` is a project's id."""

    id: str
    subnet_id: str
    owner: str
    spec: Network
    created: float

    @property
    def cidr(self) -> ipaddress.IPv4Network:
        """The subnet's range."""
        return ipaddress.IPv4Network(self.spec.cidr)

    def open_to(self, project_id: str, *, admin: bool = False) -> bool:
        """Whether a tenant sees the network."""
        return admin or self.owner == project_id or self.spec.shared or self.spec.external


@dataclass(slots=True)
class Port:
    """A port; `made_by_nova` ones go with their server."""

    id: str
    network_id: str
    project_id: str
    mac: str
    address: str
    created: float
    updated: float
    name: str = ""
    device_id: str = ""
    device_owner: str = ""
    status: str = "DOWN"
    security_groups: list[str] = field(default_factory=list[str])
    made_by_nova: bool = False
    description: str = ""
    revision: int = 1
    tags: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class FloatingIp:
    """An address of an external network, lent to a project and to one port at most."""

    id: str
    network_id: str
    project_id: str
    address: str
    created: float
    updated: float
    port_id: str | None = None
    description: str = ""
    revision: int = 1
    tags: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A named set of rules; the rules are told, not enforced: nothing flows here."""

    id: str
    name: str
    project_id: str
    description: str
    created: float
    tcp_ports: Sequence[int] = ()
