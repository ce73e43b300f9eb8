"""Neutron's and Cinder's JSON of ports, floating IPs and volumes, and what it says in Hostler's words."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from contracts.inventory.events import ResourceKind
from contracts.vm.states import CloudWord
from drivers.base import Resource
from drivers.openstack.calls import Service
from drivers.openstack.pages import Link, Page, next_marker
from drivers.openstack.servers import mark_in, mark_in_metadata

_COMPUTE = "compute:"


class Belonging(BaseModel):
    """One of the three kinds."""

    id: CloudWord

    def resource(self) -> Resource:
        """In Hostler's words."""
        raise NotImplementedError

    @property
    def may_be_a_vms(self) -> bool:
        """False for what belongs to the cloud itself."""
        return True

    @property
    def held(self) -> bool:
        """Whether something other than a server has it."""
        return False

    @property
    def going(self) -> bool:
        """Whether its end was asked for already and takes its time."""
        return False


class Port(Belonging):
    """A port of Neutron's."""

    name: CloudWord = ""
    description: str | None = None
    device_id: str = ""
    device_owner: str = ""
    tags: list[str] = Field(default_factory=list)

    @property
    def may_be_a_vms(self) -> bool:
        """A server's, or nobody's: not a router's, DHCP's or load balancer's."""
        return not self.device_owner or self.device_owner.startswith(_COMPUTE)

    @property
    def made_by_nova(self) -> bool:
        """Whether it is bound to a server and looks as Nova makes them: Neutron does not say who.

        A port that somebody made and gave to a server has, as a rule, a name, a description or tags.
        """
        named = self.name or self.description or self.tags
        return self.device_owner.startswith(_COMPUTE) and not named

    @property
    def held(self) -> bool:
        """Whether it is bound to something that is no server."""
        return not self.may_be_a_vms

    def resource(self) -> Resource:
        """The port."""
        return Resource("port", self.id, self.name, mark_in(self.tags), self.device_id or None)


class _Device(BaseModel):
    device_id: str = ""
    device_owner: str = ""


class FloatingIp(Belonging):
    """A floating IP of Neutron's."""

    address: CloudWord = Field("", alias="floating_ip_address")
    port_id: str | None = None
    device: _Device | None = Field(None, alias="port_details")
    tags: list[str] = Field(default_factory=list)

    @property
    def _server_id(self) -> str | None:
        compute = self.device is not None and self.device.device_owner.startswith(_COMPUTE)
        return self.device.device_id if self.device is not None and compute else None

    @property
    def held(self) -> bool:
        """Whether it leads to something that is no server, as a load balancer."""
        return self.port_id is not None and self._server_id is None

    def resource(self) -> Resource:
        """The floating IP."""
        mark = mark_in(self.tags)
        return Resource("floating_ip", self.id, self.address, mark, self._server_id)


class _Attachment(BaseModel):
    server_id: str | None = None


class Volume(Belonging):
    """A volume of Cinder's."""

    name: CloudWord | None = None
    status: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    attachments: list[_Attachment] = Field(default_factory=list[_Attachment])

    @property
    def going(self) -> bool:
        """Whether Cinder is deleting it."""
        return self.status == "deleting"

    def resource(self) -> Resource:
        """The volume; of several servers that have it, the first."""
        server = next((a.server_id for a in self.attachments if a.server_id), None)
        mark = mark_in_metadata(self.metadata)
        return Resource("volume", self.id, self.name or "", mark, server)


class BelongingsPage(Page):
    """One page of one kind."""

    links: list[Link] = Field(default_factory=list[Link])

    @property
    def found(self) -> Sequence[Belonging]:
        """What is on it."""
        raise NotImplementedError

    def marker(self) -> str | None:
        """The marker of the next page; None if this is the last."""
        return next_marker(self.links)


class Ports(BelongingsPage):
    """GET /ports."""

    items: list[Port] = Field(alias="ports")
    links: list[Link] = Field(default_factory=list[Link], alias="ports_links")

    @property
    def found(self) -> Sequence[Port]:
        """The ports."""
        return self.items


class FloatingIps(BelongingsPage):
    """GET /floatingips."""

    items: list[FloatingIp] = Field(alias="floatingips")
    links: list[Link] = Field(default_factory=list[Link], alias="floatingips_links")

    @property
    def found(self) -> Sequence[FloatingIp]:
        """The floating IPs."""
        return self.items


class Volumes(BelongingsPage):
    """GET /volumes/detail."""

    items: list[Volume] = Field(alias="volumes")
    links: list[Link] = Field(default_factory=list[Link], alias="volumes_links")

    @property
    def found(self) -> Sequence[Volume]:
        """The volumes."""
        return self.items


class _OnePort(BaseModel):
    port: Port


class _OneFloatingIp(BaseModel):
    floatingip: FloatingIp


class _OneVolume(BaseModel):
    volume: Volume


def read_one(kind: ResourceKind, content: bytes) -> Belonging:
    """What the answer to GET by its id shows; ValidationError if it is none of the kind."""
    match kind:
        case "port":
            return _OnePort.model_validate_json(content).port
        case "floating_ip":
            return _OneFloatingIp.model_validate_json(content).floatingip
        case "volume":
            return _OneVolume.model_validate_json(content).volume
        case "server":
            raise ValueError("a server does not belong to one")


WHERE: dict[ResourceKind, tuple[Service, str]] = {
    "port": ("network", "/ports/{id}"),
    "floating_ip": ("network", "/floatingips/{id}"),
    "volume": ("volume", "/volumes/{id}"),
}
"""The service and the path of one."""
