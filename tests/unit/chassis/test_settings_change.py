"""A service that starts with other settings says so, once, and says none of their values."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from chassis.database import Database
from chassis.settings import Settings
from chassis.settings_change import tell_changed
from chassis.tables import OUTBOX, SETTINGS_SEEN
from chassis.testing import said
from contracts.trust.events import SettingsChanged
from tests.chassis_toys import NOW, Toy, opened

SECRET, ANOTHER = "s" * 40, "t" * 40
KAFKA = "k4fka-password-that-nobody-may-see"


def settings(**more: object) -> Settings:
    given: dict[str, Any] = {
        "database_url": "sqlite+aiosqlite:///:memory:",
        "internal_secret": SecretStr(SECRET),
        "kafka_security_protocol": "SASL_SSL",
        "kafka_username": "toy",
        "kafka_password": SecretStr(KAFKA),
    }
    return Settings.model_validate(given | more)


async def start(database: Database, chosen: Settings) -> None:
    async with database.session() as session:
        await tell_changed(session, "toy", chosen, NOW)


async def told(database: Database) -> list[SettingsChanged]:
    found = [each.data for each in await said(database)]
    return [each for each in found if isinstance(each, SettingsChanged)]


async def test_the_first_start_and_one_that_changes_nothing_say_nothing(database_url: str) -> None:
    async with opened(database_url) as database:
        for port in (8000, 8001):  # where a replica listens is its own
            await start(database, settings(http_port=port))
        assert await told(database) == []


async def test_what_changed_is_told_by_name_once(database_url: str) -> None:
    async with opened(database_url) as database:
        await start(database, settings())
        changed = settings(log_level="DEBUG", kafka_password=SecretStr("another-one"))
        for _ in range(2):
            await start(database, changed)
        [one] = await told(database)
        assert one.names == ("HOSTLER_KAFKA_PASSWORD", "HOSTLER_LOG_LEVEL")
        await start(database, settings())
        await start(database, changed)
        back, again = await told(database)
        assert back.names == again.names == one.names
        assert again.digest == one.digest != back.digest


async def test_of_replicas_that_start_at_once_one_tells(database_url: str) -> None:
    async with opened(database_url) as database:
        await start(database, settings())
        await asyncio.gather(*[start(database, settings(log_level="ERROR")) for _ in range(4)])
        assert len(await told(database)) == 1


async def test_under_another_secret_it_says_that_nobody_can_tell_what_else(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        await start(database, settings())
        rotated = settings(internal_secret=SecretStr(ANOTHER), log_level="ERROR")
        await start(database, rotated)
        await start(database, rotated)
        assert [each.names for each in await told(database)] == [("HOSTLER_INTERNAL_SECRET",)]


@pytest.mark.parametrize("secret", [SECRET, ""], ids=["keyed", "without a secret"])
async def test_no_value_is_written_down(database_url: str, secret: str) -> None:
    url = "postgresql+psycopg://hostler:d4tabase@127.0.0.1/hostler"
    async with opened(database_url) as database:
        for name in ("one", "two"):
            chosen = settings(
                internal_secret=SecretStr(secret), database_url=url, kafka_username=name
            )
            await start(database, chosen)
        async with database.reading() as session:
            kept = str((await session.execute(select(SETTINGS_SEEN))).all())
            kept += str((await session.execute(select(OUTBOX))).all())
        assert "HOSTLER_KAFKA_USERNAME" in kept
        for value in (KAFKA, "d4tabase", SECRET, "SASL_SSL"):
            assert value not in kept


async def test_without_a_secret_nobody_can_try_out_another_one(database_url: str) -> None:
    plain = {"internal_secret": SecretStr("")}
    async with opened(database_url) as database:
        await start(database, settings(**plain))
        await start(database, settings(**plain, kafka_password=SecretStr("another-one")))
        assert await told(database) == []


async def test_a_service_that_starts_again_tells_it(database_url: str) -> None:
    plain = {"database_url": database_url, "kafka_bootstrap_servers": "127.0.0.1:1"}
    for level in ("INFO", "ERROR"):
        toy = Toy("toy", Settings.model_validate({**plain, "log_level": level}))
        async with asyncio.timeout(60), toy.running():
            while not await seen(toy, level):
                await asyncio.sleep(0.01)
    async with opened(database_url) as database:
        assert [each.names for each in await told(database)] == [("HOSTLER_LOG_LEVEL",)]


async def seen(toy: Toy, level: str) -> bool:
    async with toy.database.reading() as session:
        rows = (await session.execute(select(SETTINGS_SEEN))).all()
        count = len((await session.execute(select(OUTBOX))).all())
    return bool(rows) and (level == "INFO" or count > 0)
