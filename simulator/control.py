"""Faults to order and the cloud's strings: what tests and demos pull, on loopback and without a password.

POST   /control/faults          order one (201, with its `id`)
{"match": {"service": "compute", "method": "POST", "path_regex": "/servers$"},
"effect": {"kind": "latency", "seconds": 2}
| {"kind": "status", "status": 503, "retry_after": 1, "body": "…"}
| {"kind": "drop"},     each with "when": "before" (default) or "after":
after, the service has done its work and only the
answer is lost, late or wrong
"times": 1, "every": 1, "after_calls": 0, "probability": 1.0, "seed": 7}
times null: without end; every K: each K-th of the calls that match
GET    /control/faults          those ordered, with how many calls each saw and met
DELETE /control/faults          none any more;  DELETE /control/faults/{id}  this one

POST   /control/builds          how the next builds end: {"outcome": "error" | "hang" | "slow",
"reason": "no_host" | "retries", "fault_message": "…",
"seconds": 5, "times": 1, "name_regex": "web"}
DELETE /control/builds          all end well again

POST   /control/leaks           what the next servers leave behind when they are deleted:
{"kinds": ["port", "volume", "floating_ip"], "times": 1, "name_regex": "web"};
a volume or floating IP carries the server's tags
DELETE /control/leaks           none any more

POST   /control/servers/{id}/vanish   gone without a trace: 404, and in no list
POST   /control/servers/{id}/set      changed by itself: {"status": "SHUTOFF", "name": "…",
"fault_message": "…", "metadata": {…}, "tags": […]}
POST   /control/servers/{id}/delete   deleted as if by another (it stays in changes-since)
POST   /control/servers         many at once, ACTIVE: {"count": 1000, "project": "demo",
"name": "load", "tags": […]}; {uuid} in a tag: another
for each; "network": false: no port, of which the
network has 65,533

POST   /control/quota           {"project": "other", "instances": 2, "cores": -1, "ports": 5, …}
POST   /control/tokens/expire   every token is worth nothing: 401 until clients log in again;
{"ttl": 5} sets the life of those to come, in seconds
POST   /control/timing          seconds per operation: {"build": 0, "stop": 0.2, …}
GET    /control/timing
GET    /control/calls           {"count", "by_route": [{service, method, path, count}], "calls": [
{at, service, method, path, template, global_request_id,
request_id, status, seconds}]}; ?service= ?method= ?template=
?global_request_id= ?limit= choose; DELETE forgets
POST   /control/reset           as at the start: no servers, faults, calls; tokens stay valid
GET    /control/health          {"status": "ok", "servers": 3}
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator

from simulator.compute.leaks import Leak
from simulator.compute.life import Outcome, Timing, plan_delete
from simulator.compute.model import Fault as ServerFault
from simulator.compute.model import Nic, Power, Server
from simulator.compute.nova import BuildRule
from simulator.faults import Fault
from simulator.ids import new_id
from simulator.network.store import AddressTaken
from simulator.world import World


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _regex(text: str | None) -> str | None:
    if text is not None:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
    return text


class MatchIn(_Body):
    """Which calls a fault meets; what is not given matches all."""

    service: Literal["identity", "compute", "image", "network", "volume"] | None = None
    method: str | None = None
    path_regex: str | None = None

    _check = field_validator("path_regex")(_regex)


class EffectIn(_Body):
    """What a fault does."""

    kind: Literal["latency", "status", "drop"]
    when: Literal["before", "after"] = "before"
    seconds: float = Field(default=1.0, ge=0)
    status: int = Field(default=503, ge=400, le=599)
    retry_after: int | None = None
    body: str | None = None


class FaultIn(_Body):
    """A fault to order."""

    match: MatchIn = MatchIn()
    effect: EffectIn
    times: int | None = Field(default=1, ge=1)
    every: int = Field(default=1, ge=1)
    after_calls: int = Field(default=0, ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    seed: int | None = None


class FaultOut(_Body):
    """A fault that is ordered."""

    id: str
    kind: str
    when: str
    seen: int
    done: int
    times: int | None


class BuildIn(_Body):
    """How the next builds end."""

    outcome: Literal["ok", "error", "hang", "slow"]
    reason: Literal["no_host", "retries"] = "no_host"
    fault_message: str = ""
    seconds: float = Field(default=5.0, ge=0)
    times: int | None = Field(default=1, ge=1)
    name_regex: str = ""

    _check = field_validator("name_regex")(_regex)


class LeakIn(_Body):
    """What the next servers leave behind when they are deleted."""

    kinds: list[Literal["port", "volume", "floating_ip"]] = Field(min_length=1)
    times: int | None = Field(default=1, ge=1)
    name_regex: str = ""

    _check = field_validator("name_regex")(_regex)


class SetIn(_Body):
    """What changes by itself on a server."""

    status: Literal["ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED", "ERROR", "BUILD"] | None = None
    name: str | None = None
    fault_message: str | None = None
    metadata: dict[str, str] | None = None
    tags: list[str] | None = None
    locked: bool | None = None


class ServersIn(_Body):
    """Many servers at once."""

    count: int = Field(ge=1, le=100_000)
    project: str = "demo"
    name: str = "load"
    tags: list[str] = []
    network: bool = True


class QuotaIn(_Body):
    """New limits of a project; what is not given stays."""

    project: str = "demo"
    instances: int | None = None
    cores: int | None = None
    ram: int | None = None
    key_pairs: int | None = None
    metadata_items: int | None = None
    ports: int | None = None


class TokensIn(_Body):
    """The life of tokens to come, in seconds."""

    ttl: float | None = Field(default=None, gt=0)


class TimingIn(_Body):
    """Seconds per operation; what is not given stays."""

    build: float | None = Field(default=None, ge=0)
    stop: float | None = Field(default=None, ge=0)
    start: float | None = Field(default=None, ge=0)
    reboot: float | None = Field(default=None, ge=0)
    pause: float | None = Field(default=None, ge=0)
    unpause: float | None = Field(default=None, ge=0)
    suspend: float | None = Field(default=None, ge=0)
    resume: float | None = Field(default=None, ge=0)
    delete: float | None = Field(default=None, ge=0)


class CallOut(_Body):
    """One recorded call; `status` 0: no answer was sent."""

    at: float
    service: str
    method: str
    path: str
    template: str
    global_request_id: str | None
    request_id: str
    status: int
    seconds: float


class RouteOut(_Body):
    """How often one route was called."""

    service: str
    method: str
    path: str
    count: int


class CallsOut(_Body):
    """The calls that were made, the oldest first."""

    count: int
    by_route: list[RouteOut]
    calls: list[CallOut]


class HealthOut(_Body):
    """That the simulator lives."""

    status: str = "ok"
    servers: int


class CountOut(_Body):
    """How many were touched."""

    count: int


_STATES: dict[str, tuple[str, Power]] = {
    "ACTIVE": ("active", Power.RUNNING),
    "SHUTOFF": ("stopped", Power.SHUTDOWN),
    "PAUSED": ("paused", Power.PAUSED),
    "SUSPENDED": ("suspended", Power.SUSPENDED),
    "ERROR": ("error", Power.NOSTATE),
    "BUILD": ("building", Power.NOSTATE),
}


def control_app(world: World) -> FastAPI:
    """The control API of a world.

    Every handler is a coroutine: FastAPI would run others in threads, beside the cloud.
    """
    app = FastAPI(title="Simulator control", docs_url=None, redoc_url=None)
    _faults(app, world)
    _builds(app, world)
    _servers(app, world)
    _limits(app, world)
    _record(app, world)
    return app


def _fault_out(fault: Fault) -> FaultOut:
    return FaultOut(
        id=fault.id, kind=fault.kind, when=fault.when, seen=fault.seen, done=fault.done,
        times=fault.times,
    )  # fmt: skip


def _ordered(asked: FaultIn) -> Fault:
    match, effect = asked.match, asked.effect
    return Fault(
        id=uuid.uuid4().hex[:12],
        kind=effect.kind,
        when=effect.when,
        service=match.service,
        method=match.method.upper() if match.method else None,
        path=re.compile(match.path_regex) if match.path_regex else None,
        seconds=effect.seconds,
        status=effect.status,
        retry_after=effect.retry_after,
        body=effect.body,
        times=asked.times,
        every=asked.every,
        after_calls=asked.after_calls,
        probability=asked.probability,
        dice=random.Random(asked.seed),
    )


def _faults(app: FastAPI, world: World) -> None:
    async def order(asked: FaultIn) -> FaultOut:
        fault = _ordered(asked)
        world.faults.order(fault)
        return _fault_out(fault)

    async def listed() -> list[FaultOut]:
        return [_fault_out(fault) for fault in world.faults]

    async def forget() -> None:
        world.faults.clear()

    async def cancel(fault_id: str) -> None:
        if not world.faults.cancel(fault_id):
            raise HTTPException(404, "There is no such fault.")

    app.add_api_route("/faults", order, methods=["POST"], status_code=201)
    app.add_api_route("/faults", listed, methods=["GET"])
    app.add_api_route("/faults", forget, methods=["DELETE"], status_code=204)
    app.add_api_route("/faults/{fault_id}", cancel, methods=["DELETE"], status_code=204)


def _outcome(asked: BuildIn) -> Outcome:
    match asked.outcome:
        case "error":
            return Outcome(asked.reason, asked.fault_message)
        case "hang":
            return Outcome("hang")
        case "slow":
            return Outcome("ok", seconds=asked.seconds)
        case "ok":
            return Outcome()


def _builds(app: FastAPI, world: World) -> None:
    async def order(asked: BuildIn) -> CountOut:
        rule = BuildRule(_outcome(asked), re.compile(asked.name_regex), asked.times)
        world.compute.builds.append(rule)
        return CountOut(count=len(world.compute.builds))

    async def forget() -> None:
        world.compute.builds.clear()

    async def leak(asked: LeakIn) -> CountOut:
        rule = Leak(asked.kinds, re.compile(asked.name_regex), asked.times)
        world.compute.leaks.append(rule)
        return CountOut(count=len(world.compute.leaks))

    async def hold() -> None:
        world.compute.leaks.clear()

    app.add_api_route("/builds", order, methods=["POST"], status_code=201)
    app.add_api_route("/builds", forget, methods=["DELETE"], status_code=204)
    app.add_api_route("/leaks", leak, methods=["POST"], status_code=201)
    app.add_api_route("/leaks", hold, methods=["DELETE"], status_code=204)


def _find(world: World, server_id: str) -> Server:
    server = world.compute.servers.find(server_id)
    if server is None or server.deleted:
        raise HTTPException(404, "There is no such server.")
    return server


def _change(server: Server, asked: SetIn, now: float) -> None:
    if asked.status is not None:
        server.vm_state, server.power_state = _STATES[asked.status]
        server.task_state = ""
    if asked.name is not None:
        server.name = asked.name
    if asked.fault_message is not None:
        server.fault = ServerFault(asked.fault_message, 500, now)
    if asked.metadata is not None:
        server.metadata = asked.metadata
    if asked.tags is not None:
        server.tags = asked.tags
    if asked.locked is not None:
        server.locked = asked.locked


def _project(world: World, name: str) -> str:
    project_id = world.identity.project_id(name)
    if project_id is None:
        raise HTTPException(404, "There is no such project.")
    return project_id


def _maker(world: World, asked: ServersIn, now: float) -> Callable[[int], Server]:
    nova, project = world.compute, _project(world, asked.project)
    network = next(n for n in world.network.networks.values() if n.owner == project)
    user, image = world.identity.user(asked.project), next(iter(world.images.by_id.values()))
    flavor = next(iter(nova.flavors.values()))

    def make(number: int) -> Server:
        name = f"{asked.name}-{number}"
        return Server(
            id=new_id(), seq=nova.servers.next_seq(), name=name, hostname=name,
            project_id=project, user_id=user.id if user else "", flavor=flavor, image_id=image.id,
            image_properties=dict(image.spec.properties), created=now, updated=now, launched=now,
            vm_state="active", task_state="", power_state=Power.RUNNING, host="compute1",
            tags=[tag.replace("{uuid}", new_id()) for tag in asked.tags],
            nics=[Nic(network.id)] if asked.network else [],
        )  # fmt: skip

    return make


def _servers(app: FastAPI, world: World) -> None:
    async def make(asked: ServersIn) -> CountOut:
        now = world.advance()
        make_one = _maker(world, asked, now)
        for number in range(asked.count):
            server = make_one(number)
            try:
                world.network.plug(server, now)
            except AddressTaken as error:
                raise HTTPException(409, f'{error}: try "network": false') from error
            world.compute.servers.add(server)
        return CountOut(count=asked.count)

    async def vanish(server_id: str) -> None:
        server = _find(world, server_id)
        world.network.unplug(server, world.advance())
        world.compute.servers.vanish(server)

    async def change(server_id: str, asked: SetIn) -> None:
        now, server = world.advance(), _find(world, server_id)
        if asked.status is not None:
            world.compute.servers.follow(server, [])
        _change(server, asked, now)
        world.compute.servers.touch(server, now)

    async def delete(server_id: str) -> None:
        now, server = world.advance(), _find(world, server_id)
        timing = replace(world.compute.timing, delete=0.0)
        world.compute.servers.follow(server, plan_delete(server, timing, now))
        world.advance()

    app.add_api_route("/servers", make, methods=["POST"], status_code=201)
    app.add_api_route("/servers/{server_id}/vanish", vanish, methods=["POST"], status_code=204)
    app.add_api_route("/servers/{server_id}/set", change, methods=["POST"], status_code=204)
    app.add_api_route("/servers/{server_id}/delete", delete, methods=["POST"], status_code=204)


def _limits(app: FastAPI, world: World) -> None:
    async def quota(asked: QuotaIn) -> None:
        project = _project(world, asked.project)
        given = asked.model_dump(exclude={"project", "ports"}, exclude_none=True)
        world.compute.quotas[project] = world.compute.quotas[project].model_copy(update=given)
        if asked.ports is not None:
            world.network.port_quota = asked.ports

    async def expire(asked: TokensIn | None = None) -> CountOut:
        if asked is not None and asked.ttl is not None:
            world.identity.ttl = asked.ttl
        return CountOut(count=world.identity.revoke_all())

    async def set_timing(asked: TimingIn) -> Timing:
        world.compute.timing = replace(world.compute.timing, **asked.model_dump(exclude_none=True))
        return world.compute.timing

    async def timing() -> Timing:
        return world.compute.timing

    async def reset() -> None:
        world.reset()

    app.add_api_route("/quota", quota, methods=["POST"], status_code=204)
    app.add_api_route("/tokens/expire", expire, methods=["POST"])
    app.add_api_route("/timing", set_timing, methods=["POST"])
    app.add_api_route("/timing", timing, methods=["GET"])
    app.add_api_route("/reset", reset, methods=["POST"], status_code=204)


class CallsQuery(_Body):
    """Which calls to show."""

    service: str | None = None
    method: str | None = None
    template: str | None = None
    global_request_id: str | None = None
    limit: int = Field(default=1000, ge=0)


def _record(app: FastAPI, world: World) -> None:
    async def calls(asked: Annotated[CallsQuery, Query()]) -> CallsOut:
        chosen = asked.model_dump(exclude={"limit"}, exclude_none=True)
        found = [_call_out(asdict(call)) for call in world.calls.latest]
        found = [c for c in found if chosen.items() <= c.model_dump().items()]
        routes = [
            RouteOut(service=service, method=method, path=path, count=count)
            for (service, method, path), count in world.calls.counts.most_common()
        ]
        shown = found[-asked.limit :] if asked.limit else []
        return CallsOut(count=len(found), by_route=routes, calls=shown)

    async def forget() -> None:
        world.calls.clear()

    async def health() -> HealthOut:
        return HealthOut(servers=world.compute.servers.count)

    app.add_api_route("/calls", calls, methods=["GET"])
    app.add_api_route("/calls", forget, methods=["DELETE"], status_code=204)
    app.add_api_route("/health", health, methods=["GET"])


def _call_out(call: dict[str, object]) -> CallOut:
    caller = call.pop("global_id")
    return CallOut.model_validate({**call, "global_request_id": caller})
