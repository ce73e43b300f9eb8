"""A service that is told to stop stops, whatever its work does about it."""

import asyncio

from chassis.settings import Settings
from tests.chassis_toys import Toy


async def test_work_that_cannot_clean_up_after_itself_does_not_keep_the_service(
    database_url: str,
) -> None:
    toy = Toy(
        "toy_drain", Settings(database_url=database_url, kafka_bootstrap_servers="127.0.0.1:1")
    )
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("the database is out: the lease cannot be given back")

    toy.background("work", work)
    async with asyncio.timeout(60), toy.running():
        await begun.wait()
