"""Networks, ports and floating IPs; a server's boot makes ports here and its end removes them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from simulator.compute.model import Nic, Server
from simulator.ids import new_id, new_mac
from simulator.network.model import COMPUTE_OWNER, FloatingIp, Port, SecurityGroup, StoredNetwork
from simulator.seed import Network, named_id
from simulator.tagged import Tagged


class AddressTaken(Exception):
    """The address is in use or outside of the subnet."""


class NetworkStore:
    """All networks, ports, floating IPs and security groups."""

    def __init__(self, networks: Iterable[Network], projects: dict[str, str], now: float) -> None:
        """`projects` maps names to ids; `admin` owns what has no owner."""
        self.networks: dict[str, StoredNetwork] = {}
        self.groups: dict[str, SecurityGroup] = {}
        self.ports: dict[str, Port] = {}
        self.floating: dict[str, FloatingIp] = {}
        self.tagged = Tagged()
        self.port_quota = -1
        self.dirty = False
        self.renewed = True  # a new store: nothing of an older one is left
        self.touched: set[str] = set()  # ids of ports
        self._of_device: dict[str, list[str]] = {}
        self._of_port: dict[str, str] = {}
        self._of_project: dict[str, dict[str, Port]] = {}
        self._taken: dict[str, set[str]] = {}
        self._next: dict[str, int] = {}
        self._ranges: dict[str, tuple[int, int]] = {}
        for spec in networks:
            owner = projects[spec.owner or "admin"]
            key = named_id("network", spec.name)
            subnet = named_id("subnet", spec.name)
            found = self.networks[key] = StoredNetwork(key, subnet, owner, spec, now)
            cidr = found.cidr
            self._ranges[key] = (int(cidr.network_address), cidr.num_addresses)
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

    def owned(self, project_id: str | None) -> Mapping[str, Port]:
        """The ports of a project, or of all, the oldest first."""
        return self.ports if project_id is None else self._of_project.get(project_id, {})

    def floating_of(self, port_id: str) -> FloatingIp | None:
        """The floating IP that leads to a port."""
        found = self._of_port.get(port_id)
        return None if found is None else self.floating[found]

    def tag(self, found: Port | FloatingIp, tags: Iterable[str], now: float) -> None:
        """These tags and no others."""
        self.tagged.drop(found.id, found.tags)
        found.tags = list(dict.fromkeys(tags))
        self.tagged.put(found.id, found.tags)
        found.updated, found.revision = now, found.revision + 1
        self.touch(found)

    def touch(self, found: Port | FloatingIp) -> None:
        """It has changed."""
        self.touched.add(found.id)
        self.dirty = True

    def of_device(self, device_id: str) -> list[Port]:
        """The ports of a server, in the order in which it got them."""
        return [self.ports[i] for i in self._of_device.get(device_id, []) if i in self.ports]

    def add(self, port: Port) -> None:
        """Take in a port, new or read from a snapshot."""
        self.ports[port.id] = port
        self.touched.add(port.id)
        self._of_project.setdefault(port.project_id, {})[port.id] = port
        self.tagged.put(port.id, port.tags)
        self._taken.setdefault(port.network_id, set()).add(port.address)
        if port.device_id:
            self._of_device.setdefault(port.device_id, []).append(port.id)
        self.dirty = True

    def make(
        self, network_id: str, project_id: str, now: float, address: str | None = None
    ) -> Port:
        """A new port with a free address (or the one asked for: AddressTaken if it is not free)."""
        network = self.networks[network_id]
        mac = new_mac()
        default = self.group(project_id, "default")
        port = Port(
            id=new_id(),
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
        base, size = self._ranges[network.id]
        start = self._next.get(network.id, 2)
        for i in range(size):
            offset = 2 + (start - 2 + i) % (size - 3)
            found = _dotted(base + offset)
            if found not in taken:
                self._next[network.id] = offset + 1
                return found
        raise AddressTaken("No more IP addresses available on network " + network.id)

    def remove(self, port_id: str) -> None:
        """The port is gone."""
        port = self.ports.pop(port_id)
        self.touched.add(port_id)
        del self._of_project[port.project_id][port_id]
        self.tagged.drop(port_id, port.tags)
        self._taken[port.network_id].discard(port.address)
        self._forget(port)
        floating = self.floating_of(port_id)
        if floating is not None:
            self.lead(floating, None, port.updated)
        self.dirty = True

    def add_floating(self, found: FloatingIp) -> None:
        """Take in a floating IP, new or read from a snapshot."""
        self.floating[found.id] = found
        self.tagged.put(found.id, found.tags)
        self._taken.setdefault(found.network_id, set()).add(found.address)
        if found.port_id:
            self._of_port[found.port_id] = found.id
        self.dirty = True

    def lend(self, network_id: str, project_id: str, now: float) -> FloatingIp:
        """A new floating IP of an external network. AddressTaken where none is left."""
        address = self._address(self.networks[network_id], None)
        made = FloatingIp(new_id(), network_id, project_id, address, now, now)
        self.add_floating(made)
        return made

    def lead(self, floating: FloatingIp, port_id: str | None, now: float) -> None:
        """From now on it leads to that port, or to none."""
        if floating.port_id is not None:
            self._of_port.pop(floating.port_id, None)
        floating.port_id = port_id
        if port_id is not None:
            self._of_port[port_id] = floating.id
        floating.updated, floating.revision = max(now, floating.updated), floating.revision + 1
        self.dirty = True

    def give_back(self, floating: FloatingIp) -> None:
        """The floating IP is gone."""
        self.lead(floating, None, floating.updated)
        del self.floating[floating.id]
        self.tagged.drop(floating.id, floating.tags)
        self._taken[floating.network_id].discard(floating.address)

    def _forget(self, port: Port) -> None:
        ids = self._of_device.get(port.device_id, [])
        if port.id in ids:
            ids.remove(port.id)
        if not ids:
            self._of_device.pop(port.device_id, None)

    def own(self, port: Port, device_id: str) -> None:
        """The port is for that device."""
        self._forget(port)
        port.device_id = device_id
        if device_id:
            self._of_device.setdefault(device_id, []).append(port.id)
        self.touch(port)

    def _bind(self, port: Port, server: Server, now: float) -> None:
        port.device_id, port.device_owner, port.status = server.id, COMPUTE_OWNER, "ACTIVE"
        port.updated, port.revision = now, port.revision + 1
        ids = self._of_device.setdefault(server.id, [])
        if port.id not in ids:
            ids.append(port.id)
        self.touch(port)

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

    def unplug(self, server: Server, now: float, *, leak: bool = False) -> None:
        """Take a server's ports away: Nova's own are removed, the caller's are freed.

        A `leak` is Nova's well-known one: its own stay behind, bound to a server that is no more.
        """
        for port in self.of_device(server.id):
            if port.made_by_nova:
                if not leak:
                    self.remove(port.id)
                continue
            self._forget(port)
            port.device_id, port.device_owner, port.status = "", "", "DOWN"
            port.updated = now
            self.touch(port)


def _dotted(address: int) -> str:
    """An IPv4 address as text; `ipaddress` takes ten times as long."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"
