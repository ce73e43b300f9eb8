"""A gateway that runs: what identity does in the background is wired, also while Kafka is gone."""

import asyncio

from pydantic import SecretStr
from sqlalchemy import select

from services.gateway.app import build
from services.gateway.identity.tables import MAIL, SIGNING_KEYS
from services.gateway.settings import GatewaySettings
from tests.unit.gateway.identity.world import ADA, CHEAP


async def test_the_first_admin_gets_a_link_once_a_gateway_runs(database_url: str) -> None:
    shown: list[str] = []
    given = GatewaySettings(
        database_url=database_url,
        internal_secret=SecretStr("s" * 32),
        first_admin=ADA,
        password_memory=CHEAP,
        kafka_bootstrap_servers="127.0.0.1:1",
    )
    gateway = build(given, show=shown.append)
    async with gateway.service.running(), asyncio.timeout(30):
        while not any(text.startswith(f"mail to {ADA}") for text in shown):
            await asyncio.sleep(0.05)
        async with gateway.database.reading() as session:
            while (await session.execute(select(MAIL.c.id))).first() is not None:
                await asyncio.sleep(0.05)
            assert (await session.execute(select(SIGNING_KEYS.c.id))).first() is None
        await gateway.identity.keyring.signer()
        assert len(gateway.identity.keyring.known()) == 1
