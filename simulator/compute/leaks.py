"""Leaks on purpose: what servers leave behind that nobody has any more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simulator.compute.model import Server
from simulator.ids import new_id
from simulator.network.store import NetworkStore
from simulator.volume import Volume, VolumeStore

Kind = Literal["port", "volume", "floating_ip"]


@dataclass(slots=True)
class Leak:
    """What the next servers that are deleted leave behind; `times` None is for ever.

    A port of Nova's stays bound to the server that is no more; a volume or floating IP is made
    that carries the server's tags (a volume as metadata: `a:b:c` is `a:b` = `c`).
    """

    kinds: Sequence[Kind]
    name: re.Pattern[str]
    times: int | None = None

    def meets(self, server: Server) -> bool:
        """Whether this server leaks; counts it."""
        if self.times == 0 or not self.name.search(server.name):
            return False
        if self.times is not None:
            self.times -= 1
        return True


def leave(
    server: Server, kind: Kind, network: NetworkStore, volumes: VolumeStore, now: float
) -> None:
    """Make what stays behind beside a port."""
    if kind == "volume":
        pairs = [tag.rpartition(":") for tag in server.tags]
        volumes.make(
            Volume(
                id=new_id(), name=f"{server.name}-left", description=None, size=1,
                project_id=server.project_id, user_id=server.user_id, created=now,
                metadata={key: value for key, _, value in pairs if key},
            )
        )  # fmt: skip
    if kind == "floating_ip":
        external = next(n for n in network.networks.values() if n.spec.external)
        network.tag(network.lend(external.id, server.project_id, now), server.tags, now)
