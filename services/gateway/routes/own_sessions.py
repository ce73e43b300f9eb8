"""The caller's own sessions: where they are logged in, and how they end one of them."""

from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Row

from chassis.errors import Terminal
from contracts.errors import ErrorCode
from services.gateway import documents
from services.gateway.context import Here
from services.gateway.identity.methods import ProofKind
from services.gateway.identity.saying import Asks, user
from services.gateway.identity.tables import SESSIONS
from services.gateway.pages import Limit, Marker, Order, Page
from services.gateway.reading.pages import page_of
from services.gateway.routes.factors import User
from services.gateway.routes.guard import personal

ROUTER = personal("/me/sessions", "me")
_ORDER = Order("created_at", SESSIONS.c.created_at, SESSIONS.c.id)


class SessionShown(BaseModel):
    """A login that can still go on."""

    id: UUID
    address: str | None = Field(description="Where it was begun.")
    client: str | None = Field(description="What the program called itself that began it.")
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    authenticated_at: datetime | None = Field(description="When its user last proved themselves.")
    factor: ProofKind | None = Field(description="By which second factor; null: by none.")
    is_current: bool


@ROUTER.get("", responses=documents.problems())
async def list_sessions(
    request: Request, gateway: Here, mine: User, limit: Limit = 100, marker: Marker = None
) -> Page[SessionShown]:
    """List one's sessions."""
    query = gateway.identity.sessions.open_ones(mine.user_id)
    shown = partial(_shown, current=mine.session_id)
    return await page_of(gateway, request, query, _ORDER, shown, limit=limit, marker=marker)


@ROUTER.delete("/{session_id}", status_code=204, responses=documents.problems(ErrorCode.NOT_FOUND))
async def end_session(session_id: UUID, gateway: Here, asking: Asks, mine: User) -> Response:
    """End one of one's sessions. Its access tokens work for five seconds more at other gateways."""
    sessions = gateway.identity.sessions
    this = (SESSIONS.c.id == session_id) & (SESSIONS.c.user_id == mine.user_id)
    async with gateway.database.session() as session:
        actor = user(mine.user_id)
        if not await sessions.close(session, this, "logout", actor=actor, asking=asking):
            raise Terminal(ErrorCode.NOT_FOUND)
    sessions.forget()
    return Response(status_code=204)


def _shown(row: Row[Any], current: UUID) -> SessionShown:
    columns = SessionShown.model_fields.keys() - {"is_current"}
    values = {name: getattr(row, name) for name in columns}
    return SessionShown(**values, is_current=row.id == current)
