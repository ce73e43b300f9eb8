"""Networks and the ports on them; a server's boot makes ports here and its end removes them."""

from __future__ import annotations

import ipaddress
import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from simulator.compute.model import Nic, Server
from simulator.seed import Network, named_id

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


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A named set of rules; the rules are told, not enforced: nothing flows here."""

    id: str
    name: str
    project_id: str
    description: str
    created: float
    tcp_ports: Sequence[int] = ()


class AddressTaken(Exception):
    """The address is in use or outside of the subnet."""


class NetworkStore:
    """All networks, ports and security groups."""

    def __init__(self, networks: Iterable[Network], projects: dict[str, str], now: float) -> None:
        """`projects` maps names to ids; `admin` owns what has no owner."""
        self.networks: dict[str, StoredNetwork] = {}
        self.groups: dict[str, SecurityGroup] = {}
        self.ports: dict[str, Port] = {}
        self.port_quota = -1
        self.dirty = False
        self._of_device: dict[str, list[str]] = {}
        self._taken: dict[str, set[str]] = {}
        self._next: dict[str, int] = {}
        for spec in networks:
            owner = projects[spec.owner or "admin"]
            key = named_id("network", spec.name)
            subnet = named_id("subnet", spec.name)
            self.networks[key] = StoredNetwork(key, subnet, owner, spec, now)
        for name, project_id in projects.items():
            for group, words, ports in (("default", "Default security group", ()),
                                        ("web", "ssh, http, https, ping", (22, 80, 443))):  # fmt: skip
                key = named_id("security-group", f"{name}/{group}")
                self.groups[key] = SecurityGroup(key, group, project_id, words, now, ports)

    def group(self, project_id: str, name_or_id: str) -> SecurityGroup | None:
        """A project's security group."""
        for found in self.groups.values():
            if found.project_id == project_id and name_or_id in {found.id, found.name}:
                return found
        return None

    def of_device(self, device_id: str) -> list[Port]:
        """The ports of a server, in the order in which it got them."""
        return [self.ports[i] for i in self._of_device.get(device_id, []) if i in self.ports]

    def add(self, port: Port) -> None:
        """Take in a port, new or read from a snapshot."""
        self.ports[port.id] = port
        self._taken.setdefault(port.network_id, set()).add(port.address)
        if port.device_id:
            self._of_device.setdefault(port.device_id, []).append(port.id)
        self.dirty = True

    def make(
        self, network_id: str, project_id: str, now: float, address: str | None = None
    ) -> Port:
        """A new port with a free address (or the one asked for: AddressTaken if it is not free)."""
        network = self.networks[network_id]
        mac = "fa:16:3e:" + ":".join(f"{b:02x}" for b in secrets.token_bytes(3))
        default = self.group(project_id, "default")
        port = Port(
            id=str(uuid.uuid4()),
            network_id=network_id,
            project_id=project_id,
            mac=mac,
            address=self._address(network, address),
            created=now,
            updated=now,
            security_groups=[default.id] if default else [],
        )
        self.add(port)
        return port

    def _address(self, network: StoredNetwork, wanted: str | None) -> str:
        taken = self._taken.setdefault(network.id, set())
        if wanted is not None:
            if wanted in taken or ipaddress.ip_address(wanted) not in network.cidr:
                raise AddressTaken(wanted)
            return wanted
        base, size = int(network.cidr.network_address), network.cidr.num_addresses
        start = self._next.get(network.id, 2)
        for i in range(size):
            offset = 2 + (start - 2 + i) % (size - 3)
            found = str(ipaddress.IPv4Address(base + offset))
            if found not in taken:
                self._next[network.id] = offset + 1
                return found
        raise AddressTaken("No more IP addresses available on network " + network.id)

    def remove(self, port_id: str) -> None:
        """The port is gone."""
        port = self.ports.pop(port_id)
        self._taken[port.network_id].discard(port.address)
        self._forget(port)
        self.dirty = True

    def _forget(self, port: Port) -> None:
        ids = self._of_device.get(port.device_id, [])
        if port.id in ids:
            ids.remove(port.id)
        if not ids:
            self._of_device.pop(port.device_id, None)

    def _bind(self, port: Port, server: Server, now: float) -> None:
        port.device_id, port.device_owner, port.status = server.id, COMPUTE_OWNER, "ACTIVE"
        port.updated, port.revision = now, port.revision + 1
        ids = self._of_device.setdefault(server.id, [])
        if port.id not in ids:
            ids.append(port.id)
        self.dirty = True

    def plug(self, server: Server, now: float) -> None:
        """Give a server the ports it asked for. AddressTaken where one has no address left."""
        for nic in server.nics:
            self._bind(self._port_for(server, nic, now), server, now)

    def _port_for(self, server: Server, nic: Nic, now: float) -> Port:
        if nic.port_id is not None and nic.port_id in self.ports:
            return self.ports[nic.port_id]
        port = self.make(nic.network_id, server.project_id, now, nic.fixed_ip)
        port.made_by_nova = True
        wanted = [self.group(server.project_id, name) for name in server.security_groups]
        port.security_groups = [found.id for found in wanted if found] or port.security_groups
        return port

    def unplug(self, server: Server, now: float) -> None:
        """Take a server's ports away: Nova's own are removed, the caller's are freed."""
        for port in self.of_device(server.id):
            if port.made_by_nova:
                self.remove(port.id)
                continue
            self._forget(port)
            port.device_id, port.device_owner, port.status = "", "", "DOWN"
            port.updated = now
        self.dirty = True
