"""What each service is as a process."""

from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["provisioner", "sync", "audit"])
def test_a_service_without_an_api_shows_no_documents_of_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_INTERNAL_SECRET", "s" * 32)
    _, app = import_module(f"services.{name}.__main__").built()
    paths = {getattr(route, "path", None) for route in app.routes}
    assert {"/healthz", "/readyz", "/metrics"} <= paths
    assert not paths & {"/docs", "/redoc", "/openapi.json"}
