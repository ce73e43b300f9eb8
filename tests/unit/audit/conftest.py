from collections.abc import AsyncGenerator

import pytest
from pydantic import SecretStr

from chassis.migrations import migrate
from chassis.testing import VirtualClock
from services.audit.app import Audit, build
from services.audit.settings import AuditSettings
from tests.unit.audit.world import SECRET


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def audit(database_url: str, clock: VirtualClock) -> AsyncGenerator[Audit]:
    settings = AuditSettings(database_url=database_url, internal_secret=SecretStr(SECRET))
    built = build(settings, clock=clock)
    await migrate(built.service.database)
    yield built
    await built.service.database.close()
