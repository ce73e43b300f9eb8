"""The cloud under test, its first tenant, and servers that go with their test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.cloud import Cloud, Make, Tenant, cloud_under_test


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud_under_test(tmp_path_factory.mktemp("cloud")) as found:
        yield found


@pytest.fixture(scope="module")
def demo(cloud: Cloud) -> Tenant:
    return cloud.demo


@pytest.fixture(scope="module")
def parts(demo: Tenant) -> dict[str, Any]:
    """The smallest body of POST /servers."""
    return {
        "name": f"conformance-{uuid.uuid4().hex[:8]}",
        "imageRef": demo.named("image", "images", "tiny-raw"),
        "flavorRef": demo.named("compute", "flavors", "m1.nano"),
        "networks": [{"uuid": demo.named("network", "networks", "private")}],
    }


@pytest.fixture
def make(demo: Tenant, parts: dict[str, Any]) -> Iterator[Make]:
    """Creates servers and deletes them after the test."""
    made: list[str] = []

    def create(**fields: object) -> str:
        answer = demo.call("POST", "/servers", {"server": {**parts, **fields}})
        assert answer.status == 202, answer.text
        made.append(str(answer.body["server"]["id"]))
        return made[-1]

    yield create
    for server_id in made:
        demo.call("DELETE", f"/servers/{server_id}")
