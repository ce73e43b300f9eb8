"""What a request can reach: the parts that `app.build` put together."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, FastAPI, Request

from chassis.database import Database
from chassis.identity import Vouching
from chassis.leases import Clock
from chassis.service import Service
from services.gateway.dead_letters import DeadLetters
from services.gateway.desk import Desk
from services.gateway.followers import Tail
from services.gateway.forwarding import Audit
from services.gateway.identity.addresses import AllowList
from services.gateway.identity.keys import FirstKeys, Keys
from services.gateway.identity.parts import Identity
from services.gateway.identity.signatures import Signatures
from services.gateway.intake import Intake
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.slots import Slots
from services.gateway.pages import Markers
from services.gateway.policy.keeping import Policy
from services.gateway.policy.projects import Projects
from services.gateway.settings import GatewaySettings
from services.gateway.waiting import Endings


@dataclass(frozen=True)
class Gateway:
    """One gateway: its service, its HTTP side and everything that routes use."""

    settings: GatewaySettings
    service: Service
    app: FastAPI
    keys: Keys
    first_keys: FirstKeys
    identity: Identity
    intake: Intake
    desk: Desk
    markers: Markers
    tail: Tail
    endings: Endings
    vouching: Vouching
    audit: Audit
    dead_letters: DeadLetters
    limiter: Limiter
    slots: Slots
    allow_list: AllowList
    signatures: Signatures
    policy: Policy
    projects: Projects

    @property
    def database(self) -> Database:
        """The gateway's own database."""
        return self.service.database

    @property
    def clock(self) -> Clock:
        """The time, as everything here knows it."""
        return self.service.clock

    @property
    def shared_clock(self) -> Clock:
        """The time as all replicas tell it: by which operations are accepted, and stuck."""
        return self.service.shared_clock

    def account(self, project_id: str) -> str:
        """The cloud account of a project; empty if the settings name none."""
        return self.settings.projects.get(project_id, "")


def gateway_of(request: Request) -> Gateway:
    """The gateway that a request came to."""
    return cast("Gateway", request.app.state.gateway)


def request_id_of(request: Request) -> str:
    """`req-<uuid>`: the caller's own, or the one that was made at the door."""
    return cast("str", request.state.request_id)


# Coroutines: FastAPI runs plain functions in a thread each, which costs more than all they do.
async def _here(request: Request) -> Gateway:
    return gateway_of(request)


async def _request_id(request: Request) -> str:
    return request_id_of(request)


Here = Annotated[Gateway, Depends(_here)]
RequestId = Annotated[str, Depends(_request_id)]
