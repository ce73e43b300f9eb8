"""GET /v1/audit/verify, quick; /v1/audit/verifications, walks in the background; /v1/audit/keys."""

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row

from chassis.errors import Retry, Terminal
from chassis.identity import Caller
from contracts.errors import ErrorCode
from services.audit.routes.door import Door
from services.audit.runs import Runs, verdict_of
from services.audit.verification import Verdict

PATIENCE_SECONDS = 10.0
_AGAIN = timedelta(seconds=5)


class Wanted(BaseModel):
    """How to walk; unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    full: bool = Field(
        default=False, description="From the oldest rows on, not from where a walk was before."
    )


class Run(BaseModel):
    """A walk over the ledger in the background."""

    id: UUID
    full: bool
    state: str = Field(description="`queued`, `running` or `ended`.")
    asked_by: str
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    chains: int
    rows: int = Field(description="Rows that were found sound, now or before.")
    of_rows: int = Field(description="Rows that there were, when it began.")
    verdict: Verdict | None = Field(description="What it came to; null before its end.")


class Keys(BaseModel):
    """The public keys of checkpoints, as a JWK set; the first one signs now."""

    keys: list[dict[str, str]]


def router(runs: Runs, door: Door, budget: int) -> APIRouter:
    """The routes over the walks of one ledger; `budget`: rows that a quick one walks at most."""
    made = APIRouter(prefix="/v1/audit", tags=["audit"])
    one_at_a_time = asyncio.Semaphore(1)

    @made.get("/verify", dependencies=[Depends(door.enter)])
    async def verify_audit(
        caller: Annotated[Caller, Depends(door.enter)], wanted: Annotated[Wanted, Query()]
    ) -> Verdict:
        """Whether the ledger holds, of every project; `full=true` reads all of it again."""
        if not wanted.full:
            async with one_at_a_time:
                return await runs.quick(budget)
        run_id = await runs.ask(full=True, asked_by=caller.actor)
        row = await runs.ended(run_id, PATIENCE_SECONDS)
        if row is None:
            detail = f"It takes longer: ask /v1/audit/verifications/{run_id}."
            raise Retry(ErrorCode.UNAVAILABLE, detail, after=_AGAIN)
        return verdict_of(row)

    @made.post("/verifications", status_code=202)
    async def begin_verification(
        request: Request,
        response: Response,
        caller: Annotated[Caller, Depends(door.enter)],
        wanted: Annotated[Wanted, Query()],
    ) -> Run:
        """Walk the ledger in the background; the walk that is under way, if it is of that kind."""
        run_id = await runs.ask(full=wanted.full, asked_by=caller.actor)
        response.headers["Location"] = f"{request.url.path}/{run_id}"
        return await _found(run_id)

    @made.get("/verifications/{run_id}", dependencies=[Depends(door.enter)])
    async def show_verification(run_id: UUID) -> Run:
        """How far a walk has come, and what it came to."""
        return await _found(run_id)

    @made.get("/keys", dependencies=[Depends(door.enter)])
    async def show_keys() -> Keys:
        """The public keys by which anyone can check what was signed."""
        return Keys(keys=runs.signer.public_keys())

    async def _found(run_id: UUID) -> Run:
        row = await runs.find(run_id)
        if row is None:
            raise Terminal(ErrorCode.NOT_FOUND)
        return _shown(row)

    return made


def _shown(row: Row[Any]) -> Run:
    state = "ended" if row.ended_at else "running" if row.started_at else "queued"
    return Run(
        id=row.id,
        full=row.full,
        state=state,
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        chains=row.chains,
        rows=row.rows,
        of_rows=row.of_rows,
        verdict=verdict_of(row) if row.ended_at else None,
    )
