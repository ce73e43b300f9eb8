"""The whole simulated cloud in memory."""

from __future__ import annotations

from simulator.clock import Clock, WallClock
from simulator.compute.life import Timing
from simulator.compute.nova import Nova
from simulator.faults import Calls, Faults
from simulator.identity.tokens import PASSWORD, IdentityStore
from simulator.image import ImageStore
from simulator.network.store import NetworkStore
from simulator.seed import Seed
from simulator.volume import VolumeStore


class World:
    """Every service's state, built from a seed; `reset` makes it new."""

    def __init__(
        self,
        seed: Seed | None = None,
        clock: Clock | None = None,
        timing: Timing | None = None,
        token_ttl: float = 3600.0,
    ) -> None:
        self.seed = seed or Seed()
        self.clock: Clock = clock or WallClock()
        self.password = PASSWORD
        self._timing = timing or Timing()
        self._token_ttl = token_ttl
        self.faults = Faults()
        self.calls = Calls()
        self.reset()

    def reset(self) -> None:
        """As at the start: only what the seed says; tokens stay valid, faults are gone."""
        now = self.clock.now()
        tokens = self.identity.tokens if hasattr(self, "identity") else {}
        self.identity = IdentityStore.seeded(self.seed.projects, self._token_ttl)
        self.identity.tokens.update(tokens)
        names = {project.name: key for key, project in self.identity.projects.items()}
        self.images = ImageStore(self.seed.images, names["admin"], now)
        self.network = NetworkStore(self.seed.networks, names, now)
        self.volumes = VolumeStore()
        self.compute = Nova(self.seed.flavors, self.network, self.volumes, self._timing)
        self.compute.quotas.update({i: p.quota for i, p in self.identity.projects.items()})
        self.compute.dirty = True
        self.faults.clear()
        self.calls.clear()

    def advance(self) -> float:
        """Let everything that is due happen; the time it is."""
        now = self.clock.now()
        self.compute.servers.advance(now)
        return now
