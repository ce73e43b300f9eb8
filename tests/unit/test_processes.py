"""What each service is as a process."""

from importlib import import_module

import pytest

from chassis.service import main


@pytest.mark.parametrize("name", ["provisioner", "sync", "audit"])
def test_a_service_without_an_api_shows_no_documents_of_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_INTERNAL_SECRET", "s" * 32)
    _, app = import_module(f"services.{name}.__main__").built()
    paths = {getattr(route, "path", None) for route in app.routes}
    assert {"/healthz", "/readyz", "/metrics"} <= paths
    assert not paths & {"/docs", "/redoc", "/openapi.json"}


@pytest.mark.parametrize("name", ["provisioner", "sync"])
def test_a_driver_that_does_not_exist_is_told_at_the_start(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOSTLER_DRIVER", "abacus")
    with pytest.raises(SystemExit) as ended:
        main(import_module(f"services.{name}.__main__").built)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "HOSTLER_DRIVER: no driver for 'abacus'; known: openstack\n"
