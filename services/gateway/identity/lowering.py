"""What becomes of sessions that a second factor has raised, once it is gone."""

from collections.abc import Collection

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.gateway.identity.methods import PASSWORD, PROVIDER, ProofKind
from services.gateway.identity.saying import Asking, user
from services.gateway.identity.sessions import Sessions
from services.gateway.identity.tables import SESSIONS
from services.gateway.identity.tokens import Bearer

_WITHOUT = {PASSWORD, PROVIDER}


async def lower(
    session: AsyncSession,
    sessions: Sessions,
    bearer: Bearer,
    kinds: Collection[ProofKind],
    asking: Asking,
) -> bool:
    """Have a user's sessions count as if no factor of these kinds had been shown in them.

    Those that began with nothing else end, but for the one that asks for this. Whether there were
    any: then access tokens that were given out say too much.
    """
    raised = select(SESSIONS).where(
        SESSIONS.c.user_id == bearer.user_id,
        SESSIONS.c.factor.in_(kinds),
        SESSIONS.c.closed_at.is_(None),
    )
    rows = (await session.execute(raised.order_by(SESSIONS.c.id))).all()
    for row in rows:
        this = SESSIONS.c.id == row.id
        amr = [each for each in row.amr if each in _WITHOUT]
        if not amr and row.id != bearer.session_id:
            actor = user(bearer.user_id)
            await sessions.close(session, this, "state", actor=actor, asking=asking)
            continue
        began = {"amr": amr, "authenticated_at": row.created_at, "factor": None}
        await session.execute(update(SESSIONS).where(this).values(began))
    return bool(rows)
