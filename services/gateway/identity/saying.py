"""Messages about identity: who asked, by which request, from where."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from chassis.ids import new_id
from contracts.message import Body, Message
from services.gateway.identity.emails import folded

SOURCE = "hostler/gateway"
_CLIENT = 200


@dataclass(frozen=True)
class Asking:
    """A request, as the audit is told of it. `client`: what the caller's program calls itself."""

    request_id: str = ""
    address: str | None = None
    client: str | None = None


async def _asking(request: Request) -> Asking:
    address = request.client.host if request.client else None
    client = request.headers.get("user-agent", "")[:_CLIENT] or None
    return Asking(str(request.state.request_id), address, client)


Asks = Annotated[Asking, Depends(_asking)]


class Aliases:
    """How an e-mail address stands in messages: the same for the same address, and never readable."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, email: str) -> str:
        """The alias of an address."""
        return hmac.digest(self._key, folded(email).encode(), "sha256").hex()[:16]


def user(user_id: UUID) -> str:
    """How a user stands as the actor of messages: not by the name or address, which stay for ever."""
    return f"user:{user_id}"


def told(
    data: Body,
    now: datetime,
    *,
    subject: object,
    actor: str,
    request_id: str = "",
    project: str = "",
) -> Message[Body]:
    """A message; what is about no project is the platform's."""
    return Message(
        id=new_id(),
        source=SOURCE,
        time=now,
        subject=str(subject),
        project_id=project,
        actor=actor,
        request_id=request_id,
        data=data,
    )
