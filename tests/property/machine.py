"""A state machine that does to Hostler whatever Hypothesis thinks of, and lets it settle at the end."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from contracts.inventory.events import ResourceKind
from contracts.vm.states import VmState
from tests.fakes.driver import BUSY, LOST, QUOTA, REFUSED
from tests.property.books import differences, settle
from tests.property.world import SERVICES, Json, World, copy, fresh_key

T = TypeVar("T")
services = st.sampled_from(SERVICES)
choices = st.integers(0, 50)
VERBS = st.sampled_from(["start", "stop", "reboot", "pause", "unpause", "sync"])
ORDERS = st.sampled_from(["create", "delete", "stop", "start", "reboot", "update", "pause"])
ERRORS = {"lost": LOST, "busy": BUSY, "quota": QUOTA, "refused": REFUSED}
KINDS = st.sampled_from(["port", "volume", "floating_ip"])
OUTSIDE = st.sampled_from([VmState.ACTIVE, VmState.STOPPED, VmState.ERROR, VmState.PAUSED])


class Machine(RuleBasedStateMachine):
    """Steps of all services in any order; `teardown` lets everything settle and balances the books."""

    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="hostler-property-"))
        self.runner = asyncio.Runner()
        self.accepted: set[str] = set()
        self.vms: list[str] = []
        self.operations: list[str] = []
        self.theirs: list[str] = []
        """The servers that somebody else made."""
        self.asked: list[tuple[str, str, str, Json | None]] = []
        self.answers: dict[str, str] = {}
        copy(self.template, self.folder)
        self.world = self.do(_opened(self.folder))

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    def teardown(self) -> None:
        try:
            self.do(self._balance())
        finally:
            self.do(self.world.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    async def _balance(self) -> None:
        self.world.cloud.calm()
        await settle(self.world)
        found = [each async for each in differences(self.world, self.accepted)]
        assert not found, "\n".join(found)

    # What callers ask

    def ask(self, method: str, path: str, body: Json | None = None, key: str = "") -> None:
        key = key or fresh_key()
        answer = self.do(self.world.ask(method, path, key, body))
        self.asked.append((method, path, key, body))
        note(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        assert answer.status_code in {202, 400, 404, 409, 422}, answer.text
        if answer.status_code == 202 and "/operations/" not in path:
            self._note(key, answer.json())

    def _note(self, key: str, answer: Json) -> None:
        """An operation, or the page of one that an import is answered with."""
        (operation,) = answer.get("items", [answer])
        assert self.answers.setdefault(key, operation["id"]) == operation["id"]
        self.accepted.add(operation["id"])
        self.operations.append(operation["id"])
        if operation["vm_id"] not in self.vms:
            self.vms.append(operation["vm_id"])

    @initialize(on_failure=st.sampled_from(["keep", "delete", "retry"]))
    def begin(self, on_failure: str) -> None:
        self.create(on_failure)
        self.make_from_outside(VmState.ACTIVE)

    @precondition(lambda self: len(self.vms) < 4)
    @rule(on_failure=st.sampled_from(["keep", "delete", "retry"]))
    def create(self, on_failure: str) -> None:
        name = f"vm-{len(self.vms)}"
        body = {"name": name, "flavor": "m1.nano", "image": "tiny", "on_failure": on_failure}
        self.ask("POST", "/v1/vms", body)

    @precondition(lambda self: len(self.vms) < 6 and self.theirs)
    @rule(which=choices, told=st.booleans())
    def take_in(self, which: int, told: bool) -> None:
        """A server that somebody else made becomes a VM: known yet or not, gone or a VM already."""
        if told:
            self.sweep()
            self.deliver_everything()
        body = {"server_ids": [self.theirs[which % len(self.theirs)]]}
        self.ask("POST", "/v1/vms/import", body)

    @rule(which=choices, verb=VERBS)
    def act(self, which: int, verb: str) -> None:
        self.ask("POST", f"/v1/vms/{self.vms[which % len(self.vms)]}/{verb}")

    @rule(which=choices)
    def update(self, which: int) -> None:
        body = {"name": f"new-{len(self.asked)}", "metadata": {"n": str(len(self.asked))}}
        self.ask("PATCH", f"/v1/vms/{self.vms[which % len(self.vms)]}", body)

    @rule(which=choices)
    def delete(self, which: int) -> None:
        self.ask("DELETE", f"/v1/vms/{self.vms[which % len(self.vms)]}")

    @rule(which=choices, verb=st.sampled_from(["cancel", "retry", "abandon"]))
    def steer(self, which: int, verb: str) -> None:
        target = self.operations[-1 - which % len(self.operations)]
        self.ask("POST", f"/v1/operations/{target}/{verb}")

    @rule(which=choices)
    def ask_again_with_the_same_key(self, which: int) -> None:
        method, path, key, body = self.asked[which % len(self.asked)]
        self.ask(method, path, body, key)

    # What the services do, and how they die of it

    @rule(name=services)
    def relay(self, name: str) -> None:
        self.do(self.world.relay(name))

    @rule(name=services, after=st.integers(0, 3))
    def relay_and_die(self, name: str, after: int) -> None:
        self.do(self.world.relay(name, after))

    @rule(name=services, which=choices, most=st.integers(1, 5), dies=st.booleans())
    def deliver(self, name: str, which: int, most: int, dies: bool) -> None:
        self.do(self.world.deliver(name, lambda n: which % n, most, dies=dies))

    @rule()
    def deliver_everything(self) -> None:
        self.do(self.world.settle_messages())

    @rule(name=services, which=choices, back=st.integers(1, 6))
    def read_again(self, name: str, which: int, back: int) -> None:
        bus, service = self.world.bus, self.world.services[name]
        topics = {consumer.topic.name for consumer in service.consumers}
        places = sorted(place for place in bus.logs if place[0] in topics)
        if places:
            bus.rewind(service, places[which % len(places)], back)

    @rule()
    def work(self) -> None:
        self.do(self.world.work())

    @rule(after_the_call=st.booleans())
    def claim_and_die(self, after_the_call: bool) -> None:
        self.do(self.world.claim_and_die(after_the_call=after_the_call))

    @rule()
    def sweep(self) -> None:
        self.do(self.world.sweeper.sweep_once())

    @rule(name=services)
    def kill(self, name: str) -> None:
        self.do(self.world.kill(name))

    @rule(seconds=st.sampled_from([1, 5, 40, 400]))
    def wait(self, seconds: int) -> None:
        self.world.clock.advance(seconds=seconds)

    # What the cloud does, and what others do in it

    @rule()
    def finish_in_the_cloud(self) -> None:
        self.world.cloud.settle()

    @rule(
        method=ORDERS,
        error=st.sampled_from(sorted(ERRORS)),
        after=st.booleans(),
        late=st.sampled_from([0, 2, 20]),
    )
    def order_a_fault(self, method: str, error: str, after: bool, late: int) -> None:
        lost = error == "lost"
        self.world.cloud.order(
            method,
            ERRORS[error],
            after_effect=after and lost,
            late=timedelta(seconds=late if lost else 0),
        )

    @rule(which=choices)
    def fail_in_the_cloud(self, which: int) -> None:
        under_way = [i for i, s in self.world.cloud.servers.items() if s.to is not None]
        if under_way:
            self.world.cloud.fail(under_way[which % len(under_way)], "No valid host was found.")

    @rule(which=choices, state=OUTSIDE)
    def change_from_outside(self, which: int, state: VmState) -> None:
        if server_id := self._settled_server(which):
            self.world.cloud.change(server_id, state=state)

    @rule(which=choices)
    def rename_from_outside(self, which: int) -> None:
        if server_id := self._settled_server(which):
            self.world.cloud.change(server_id, name=f"outside-{len(self.asked)}")

    @rule(which=choices, at_once=st.booleans())
    def remove_from_outside(self, which: int, at_once: bool) -> None:
        if server_id := self._settled_server(which):
            if at_once:
                self.world.cloud.vanish(server_id)
            else:
                self.world.cloud.change(server_id, state=VmState.DELETED)

    @precondition(lambda self: len(self.theirs) < 3)
    @rule(state=st.sampled_from([VmState.ACTIVE, VmState.STOPPED]))
    def make_from_outside(self, state: VmState) -> None:
        self.theirs.append(self.world.cloud.add(f"theirs-{len(self.theirs)}", state))

    @rule(which=choices, kind=KINDS, ours=st.booleans())
    def attach(self, which: int, kind: ResourceKind, ours: bool) -> None:
        """Something that belongs to a VM's server: made for the VM, or somebody's own."""
        if server_id := self._settled_server(which):
            mark = self.world.cloud.servers[server_id].mark if ours else None
            made = self.world.cloud.leave(kind, mark, server_id, name="" if mark else "theirs")
            self.world.attached.append(made)

    def _settled_server(self, which: int) -> str | None:
        """A server that is there and on which the cloud does nothing."""
        cloud = self.world.cloud
        idle = [i for i, s in cloud.servers.items() if s.to is None and s in cloud.alive()]
        return idle[which % len(idle)] if idle else None


async def _opened(folder: Path) -> World:
    return World(folder)
