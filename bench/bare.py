"""The floor under the gateway: the same server and framework, with routes that do one statement.

`python -m bench.bare DATABASE_URL PORT`; a table `bare` in the schema `bench`, and whatever table
of the gateway's is read.
"""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from chassis.service import KEEP_ALIVE_SECONDS

POOL = 10


class Body(BaseModel):
    """Something to insert."""

    name: str
    flavor: str
    image: str
    networks: list[str] = []


def app(url: str) -> FastAPI:
    """The bare server over one database."""
    engine = create_async_engine(url, pool_size=POOL, max_overflow=0)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncGenerator[None]:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE SCHEMA IF NOT EXISTS bench"))
            await connection.execute(
                text("CREATE TABLE IF NOT EXISTS bench.bare (id uuid PRIMARY KEY, body jsonb)")
            )
        yield
        await engine.dispose()

    made = FastAPI(lifespan=life)
    insert = text("INSERT INTO bench.bare (id, body) VALUES (:id, CAST(:body AS jsonb))")
    one = text("SELECT * FROM gateway.vms WHERE id = :id")
    page = text(
        "SELECT * FROM gateway.vms WHERE project_id = :project "
        "ORDER BY created_at DESC, id DESC LIMIT :limit"
    )

    @made.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @made.post("/rows", status_code=202)
    async def post(body: Body) -> dict[str, str]:
        row_id = uuid4()
        async with engine.begin() as connection:
            await connection.execute(insert, {"id": row_id, "body": body.model_dump_json()})
        return {"id": str(row_id)}

    @made.get("/rows/{row_id}")
    async def get(row_id: UUID) -> dict[str, Any]:
        async with engine.connect() as connection:
            row = (await connection.execute(one, {"id": row_id})).mappings().one()
        return dict(row)

    @made.get("/rows")
    async def get_page(project: str = "demo", limit: int = 100) -> list[dict[str, Any]]:
        async with engine.connect() as connection:
            given = {"project": project, "limit": limit}
            rows = (await connection.execute(page, given)).mappings().all()
        return [dict(row) for row in rows]

    return made


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    uvicorn.run(
        app(settings["database_url"]),
        host="127.0.0.1",
        port=settings["port"],
        access_log=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
