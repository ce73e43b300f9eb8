"""Nova's memory, and what each step of a server's life does beside changing its state."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.compute.leaks import Leak, leave
from simulator.compute.life import NO_VALID_HOST, Outcome, Timing
from simulator.compute.model import Event, Fault, Flavor, Server, Step
from simulator.compute.store import Servers
from simulator.network.store import AddressTaken, NetworkStore
from simulator.seed import Quota
from simulator.volume import VolumeStore

HOSTS = ("compute1", "compute2")


@dataclass(slots=True)
class KeyPair:
    """A user's public key."""

    id: int
    name: str
    user_id: str
    public_key: str
    fingerprint: str
    type: str
    created: float


@dataclass(slots=True)
class BuildRule:
    """How the next builds end, for servers whose name matches; `times` None is for ever."""

    outcome: Outcome
    name: re.Pattern[str]
    times: int | None = None


class Nova:
    """Everything the compute service holds."""

    def __init__(
        self,
        flavors: Sequence[Flavor],
        network: NetworkStore,
        volumes: VolumeStore,
        timing: Timing,
    ) -> None:
        self.flavors = {flavor.id: flavor for flavor in flavors}
        self.network = network
        self.volumes = volumes
        self.timing = timing
        self.servers = Servers(self._on_step)
        self.keypairs: dict[tuple[str, str], KeyPair] = {}
        self.quotas: dict[str, Quota] = {}
        self.builds: list[BuildRule] = []
        self.leaks: list[Leak] = []
        self.dirty = False
        self._turn = 0

    def outcome_for(self, name: str) -> Outcome:
        """How the build of a server of that name ends; uses up one time of the rule."""
        for rule in self.builds:
            if rule.name.search(name):
                if rule.times is not None:
                    rule.times -= 1
                self.builds = [r for r in self.builds if r.times is None or r.times > 0]
                return rule.outcome
        return Outcome()

    def _on_step(self, server: Server, step: Step) -> None:
        match step.effect:
            case "place":
                self._place(server, step)
            case "unplace":
                self._release(server, step)
            case "launch":
                server.launched = step.due
            case "fail" | "fault":
                self._fail(server, step)
            case "delete":
                self._delete(server, step)
            case "":
                pass
        if not server.plan:
            self._finish(server, step)

    def _place(self, server: Server, step: Step) -> None:
        self._turn += 1
        server.host = HOSTS[self._turn % len(HOSTS)]
        try:
            self.network.plug(server, step.due)
        except AddressTaken:
            self.network.unplug(server, step.due)
            server.plan = [Step(step.due, "", "error", effect="fail", message=NO_VALID_HOST)]
        if server.actions:
            event = Event("compute__do_build_and_run_instance", step.due)
            server.actions[-1].events.append(event)

    def _release(self, server: Server, step: Step) -> None:
        self.network.unplug(server, step.due)
        server.host = ""

    def _fail(self, server: Server, step: Step) -> None:
        server.fault = Fault(step.message, 500, step.due)
        if step.effect == "fail":
            self._release(server, step)

    def _delete(self, server: Server, step: Step) -> None:
        """Nova keeps neither tags nor metadata of a deleted server."""
        self._let_go(server, step.due)
        server.deleted, server.terminated = True, step.due
        server.tags, server.metadata = [], {}
        self.servers.bury(server)

    def _let_go(self, server: Server, now: float) -> None:
        """Ports go, volumes are free again; what is ordered to leak stays."""
        leak = next((leak for leak in self.leaks if leak.meets(server)), None)
        kinds = leak.kinds if leak is not None else ()
        self.network.unplug(server, now, leak="port" in kinds)
        for kind in kinds:
            leave(server, kind, self.network, self.volumes, now)
        for volume_id in server.volumes:
            if volume_id in self.volumes.volumes:
                self.volumes.free(self.volumes.volumes[volume_id])

    def _finish(self, server: Server, step: Step) -> None:
        if not server.actions:
            return
        action = server.actions[-1]
        failed = step.effect in {"fail", "fault"}
        action.updated = step.due
        action.message = "Error" if step.effect == "fault" else action.message
        for event in action.events:
            if event.finish is None:
                event.finish, event.result = step.due, "Error" if failed else "Success"
