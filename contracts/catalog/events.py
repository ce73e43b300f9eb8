"""What an account offers. Each message is the whole item; `gone` takes it off the list."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from contracts.message import Event
from contracts.vm.states import CloudWord


class _Item(Event):
    id: CloudWord
    name: CloudWord
    gone: bool = Field(default=False, description="It is no longer offered.")


class Flavor(_Item):
    """A size that a VM can have."""

    type: Literal["catalog.flavor.v1"] = "catalog.flavor.v1"
    vcpus: int
    ram_mb: int
    disk_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    public: bool = True
    description: str | None = None


class Image(_Item):
    """A disk image that a VM can be booted from."""

    type: Literal["catalog.image.v1"] = "catalog.image.v1"
    status: str = Field(description="Glance's status; VMs are made of `active` ones.")
    visibility: str | None = None
    size_bytes: int | None = None
    min_disk_gb: int = 0
    min_ram_mb: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Network(_Item):
    """A network that a VM can join."""

    type: Literal["catalog.network.v1"] = "catalog.network.v1"
    status: str | None = None
    external: bool = False
    shared: bool = False
    mtu: int | None = None
    subnets: tuple[str, ...] = Field(default=(), description="Ids.")


class KeyPair(_Item):
    """A public key that a VM can be given; its id is its name."""

    type: Literal["catalog.keypair.v1"] = "catalog.keypair.v1"
    fingerprint: str | None = None
    kind: str = Field(default="ssh", description="`ssh` or `x509`.")


CatalogEvent = Annotated[Flavor | Image | Network | KeyPair, Field(discriminator="type")]
