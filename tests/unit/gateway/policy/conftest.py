"""A gateway over SQLite and, in its own role, over Postgres, where rows are kept apart beneath queries."""

import pytest


@pytest.fixture(params=["sqlite", "bound"])
def database_url(request: pytest.FixtureRequest) -> str:
    """What is tried here holds in both, and nothing in it needs more than the service's own role."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
