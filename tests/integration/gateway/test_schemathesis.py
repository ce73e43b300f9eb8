"""Generated requests over the OpenAPI document, with and without a key: no 5xx, nothing undocumented."""

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis.openapi
import schemathesis.specs.openapi.checks
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import SecretStr

from chassis.migrations import migrate
from services.gateway.app import build
from services.gateway.context import Gateway
from services.gateway.limits.classes import RouteClass, Subject
from services.gateway.locks import exclusively
from services.gateway.settings import GatewaySettings
from tests.unit.gateway.world import ADMIN_KEY, CATALOG, hear_catalog

pytestmark = pytest.mark.timeout(600)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
# What schemathesis returns is generic all over, and its parameters are not told.
CHECKS: Any = schemathesis.specs.openapi.checks
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
BOUNDED = settings(
    phases=[Phase.generate],
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# A well-formed create may name a flavor that does not exist: that is a 400, and right.
NOT_OURS: list[Any] = [CHECKS.positive_data_acceptance]


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


def audit_answer(asked: httpx.Request) -> httpx.Response:
    """What audit says where it keeps nothing: no lines, or no items; a verification is begun."""
    if asked.url.path.endswith("/export"):
        return httpx.Response(200, headers={"Content-Type": "application/x-ndjson"})
    if asked.url.path.startswith("/v1/audit/vms/"):
        return httpx.Response(404)
    page: dict[str, object] = {"items": [], "links": {"next": None}}
    return httpx.Response(202 if asked.method == "POST" else 200, json=page)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("gateway")
    given = GatewaySettings(
        database_url=f"sqlite+aiosqlite:///{folder / 'gateway.db'}",
        internal_secret=SecretStr("s" * 32),
        first_api_key=SecretStr(ADMIN_KEY),
        # Else most of what goes to logins would meet nothing but a 429.
        rate_limits={RouteClass.SENSITIVE: {Subject.CALLER: "", Subject.ADDRESS: ""}},
    )
    audit = httpx.MockTransport(audit_answer)
    gateway = build(given, audit_transport=audit, show=lambda _: None)
    loaded = schemathesis.openapi.from_asgi("/openapi.json", Prepared(gateway))
    # `send` says the key: a case that were negative only for want of one would be none.
    loaded.config.generation.update(with_security_parameters=False)
    return loaded


def judge(api: Any, key: str, examples: int) -> None:
    """Send generated requests, well-formed and not, to each operation, and judge the answers."""
    for found in api.get_all_operations():
        for mode in MODES:
            with suppress(Unsatisfiable):  # nothing of this operation can be negated
                send(found.ok().as_strategy(generation_mode=mode), key, examples)


def send(cases: Any, key: str, examples: int) -> None:
    """Send some cases of one operation."""

    @settings(BOUNDED, max_examples=examples)
    @given(case=cases)
    def run(case: Any) -> None:
        case.call_and_validate(headers={"X-API-Key": key}, excluded_checks=NOT_OURS)

    run()


def test_an_admin_meets_only_what_is_documented(api: Any) -> None:
    judge(api, ADMIN_KEY, examples=12)


def test_nobody_meets_only_what_is_documented(api: Any) -> None:
    judge(api, "hk_unknown", examples=2)
