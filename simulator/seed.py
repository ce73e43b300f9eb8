"""What the simulated cloud holds when it starts: what an operator would have set up before users come.

The names are those of the project's real test cloud, so that one suite serves both. Ids follow
from the names: they are the same after a restart.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from simulator.compute.model import Flavor

_SPACE = uuid.UUID("5f0b5b6e-3a2f-4f0e-9d0c-6a1c3f1b7d11")


def named_id(kind: str, name: str) -> str:
    """The UUID of a seeded thing."""
    return str(uuid.uuid5(_SPACE, f"{kind}/{name}"))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Quota(_Strict):
    """Limits of one project; -1 is none. `ram` in MiB."""

    instances: int = 10
    cores: int = 20
    ram: int = 51_200
    key_pairs: int = 100
    metadata_items: int = 128
    server_groups: int = 10
    server_group_members: int = 10


PLENTY = Quota(
    instances=100_000, cores=100_000, ram=102_400_000, key_pairs=1000, server_groups=1000,
    server_group_members=1000,
)  # fmt: skip


class Project(_Strict):
    """A tenant and its user, who has the same name and the password `simulator`."""

    name: str
    description: str = ""
    admin: bool = False
    quota: Quota = Quota()


class Image(_Strict):
    """An image anyone may boot; `min_disk` in GiB, `min_ram` in MiB, `size` in bytes."""

    name: str
    disk_format: str = "qcow2"
    size: int = 262_144
    min_disk: int = 1
    min_ram: int = 0
    properties: dict[str, str] = {}


class Network(_Strict):
    """A network with one subnet; without an owner it is the operator's."""

    name: str
    cidr: str
    owner: str | None = None
    external: bool = False
    shared: bool = False


class Seed(_Strict):
    """Everything that is there at the start."""

    projects: list[Project] = [
        Project(name="demo", description="A tenant", quota=PLENTY),
        Project(name="other", description="Another tenant"),
        Project(name="admin", description="The operator", admin=True, quota=PLENTY),
    ]
    flavors: list[Flavor] = [
        Flavor("1", "m1.nano", 1, 64, 1),
        Flavor("2", "m1.micro", 1, 192, 1),
        Flavor("3", "m1.tiny", 1, 512, 1),
        Flavor("4", "m1.small", 1, 2048, 20),
        Flavor("5", "m1.medium", 2, 4096, 40),
        Flavor("6", "m1.large", 4, 8192, 80),
    ]
    images: list[Image] = [
        Image(name="tiny-raw", disk_format="raw", size=1_048_576,
              properties={"os_distro": "tiny", "hw_rng_model": "virtio"}),
        Image(name="tiny-qcow2", properties={"os_distro": "tiny", "hw_rng_model": "virtio"}),
        Image(name="debian-12", size=345_000_000, min_disk=2, min_ram=512,
              properties={"os_distro": "debian", "os_version": "12"}),
    ]  # fmt: skip
    networks: list[Network] = [
        Network(name="public", cidr="198.18.0.0/20", external=True),
        Network(name="shared", cidr="172.24.0.0/16", shared=True),
        Network(name="private", cidr="10.10.0.0/16", owner="demo"),
        Network(name="private2", cidr="10.20.0.0/24", owner="demo"),
        Network(name="other-net", cidr="10.30.0.0/24", owner="other"),
    ]


def read_seed(path: Path | None) -> Seed:
    """The seed in a JSON file (fields left out keep their defaults), or the default one."""
    return Seed() if path is None else Seed.model_validate_json(path.read_text())
