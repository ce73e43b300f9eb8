"""Tokens of a real Keystone: OS_CLOUD is whose token it is, OS_CLOUD_ADMIN whose may validate it."""

import asyncio
import os
from typing import Any

import httpx
import pytest
from openstack.config import OpenStackConfig

from contracts.message import utc_now
from services.gateway.app import build
from services.gateway.settings import GatewaySettings
from services.gateway.tables import METADATA
from tests.infra.databases import Tables, made_sqlite, sqlite_url

__all__ = ["made_sqlite", "sqlite_url"]
pytestmark = pytest.mark.cloud


@pytest.fixture(scope="session")
def tables() -> Tables:
    return Tables("gateway", METADATA)


def region(name: str) -> Any:
    return OpenStackConfig().get_one(name)


async def test_a_token_of_the_cloud_is_taken_and_a_wrong_one_is_not(sqlite_url: str) -> None:
    named = os.environ.get("OS_CLOUD")
    if not named:
        pytest.skip("OS_CLOUD is not set")
    user = region(named)
    own = region(os.environ.get("OS_CLOUD_ADMIN", "admin")).config["auth"]
    theirs = user.config["auth"]
    token = await asyncio.to_thread(lambda: user.get_session().get_token())
    domain = theirs.get("project_domain_name", "Default")
    settings = {
        "database_url": sqlite_url,
        "internal_secret": "s" * 32,
        "keystone_url": own["auth_url"],
        "keystone_username": own["username"],
        "keystone_password": own["password"],
        "keystone_project": own["project_name"],
        "keystone_projects": {f"{domain}/{theirs['project_name']}": "demo"},
    }
    gateway = build(GatewaySettings.model_validate(settings), clock=utc_now, show=lambda _: None)
    transport = httpx.ASGITransport(gateway.app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as using:
            known = await using.get("/v1/me", headers={"X-Auth-Token": str(token)})
            assert known.status_code == 200, known.text
            assert known.json()["project_id"] == "demo"
            assert known.json()["actor"].startswith("keystone:")
            wrong = await using.get("/v1/me", headers={"X-Auth-Token": "gAAAAAnobodys"})
            assert wrong.status_code == 401
    finally:
        await gateway.database.close()
