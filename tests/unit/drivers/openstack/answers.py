"""Answers of a cloud, as tests write them."""

import json
from datetime import UTC, datetime

from requests.structures import CaseInsensitiveDict

from drivers.openstack.calls import Answer

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def answer(status: int, body: object = None, **headers: str) -> Answer:
    """An answer at NOW; `body` is JSON, or bytes as they come."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, content, CaseInsensitiveDict(named), NOW, NOW)
