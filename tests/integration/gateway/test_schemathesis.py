"""Generated requests over the OpenAPI document, with and without a key: no 5xx, nothing undocumented."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, load_all_checks
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from chassis.migrations import migrate
from services.gateway.app import build
from services.gateway.context import Gateway
from services.gateway.locks import exclusively
from services.gateway.settings import GatewaySettings
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, hear_catalog

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
BOUNDED = settings(
    max_examples=12,
    phases=[Phase.generate],
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# A well-formed create may name a flavor that does not exist: that is a 400, and right.
NOT_OURS: list[CheckFunction] = [positive_data_acceptance]


class Prepared:
    """The gateway's app with a lifespan of its own: tables, a key and a catalog, but no Kafka."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            return await self.gateway.app(scope, receive, send)
        await receive()
        await self._prepare()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.gateway.database.close()
        await send({"type": "lifespan.shutdown.complete"})
        return None

    async def _prepare(self) -> None:
        await migrate(self.gateway.database)
        await self.gateway.first_keys.ensure(exclusively)
        await hear_catalog(self.gateway, *CATALOG)
        # As if it were stopping: streams end at once, nobody waits.
        self.gateway.service.stopping.set()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    given = GatewaySettings(
        database_url=f"sqlite+aiosqlite:///{folder / 'gateway.db'}",
        internal_secret=SecretStr("s" * 32),
        first_api_key=SecretStr(ADMIN_KEY),
    )
    audit = httpx.MockTransport(lambda _: httpx.Response(200, json={"items": []}))
    load_all_checks()
    gateway = build(given, audit_transport=audit, show=lambda _: None)
    yield schemathesis.openapi.from_asgi("/openapi.json", Prepared(gateway))
    asyncio.run(gateway.database.close())


def judge(api: BaseSchema, key: str) -> None:
    """Send generated requests, well-formed and not, to each operation, and judge the answers."""
    for found in api.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @BOUNDED
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: schemathesis.Case) -> None:
                case.call_and_validate(headers={"X-API-Key": key}, excluded_checks=NOT_OURS)

            with suppress(Unsatisfiable):  # nothing of this operation can be negated
                send()


def test_an_admin_meets_only_what_is_documented(api: BaseSchema) -> None:
    judge(api, ADMIN_KEY)


def test_nobody_meets_only_what_is_documented(api: BaseSchema) -> None:
    judge(api, "hk_unknown")
