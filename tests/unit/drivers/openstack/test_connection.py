"""Logging in: what is wrong with it is known before anything is sent."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from openstack.proxy import Proxy

from chassis.errors import HostlerError, Retry, Terminal
from contracts.errors import ErrorCode
from drivers.openstack.connection import check_microversion
from drivers.openstack.driver import OpenStackDriver
from drivers.registry import driver

NOBODY_LISTENS = """
clouds:
  there:
    auth:
      auth_url: http://127.0.0.1:1/v3
      username: u
      password: p
      project_name: p
      user_domain_name: d
      project_domain_name: d
"""


def nova(lowest: tuple[int, int] | None, highest: tuple[int, int] | None) -> Proxy:
    data = SimpleNamespace(min_microversion=lowest, max_microversion=highest)
    return cast("Proxy", SimpleNamespace(get_endpoint_data=lambda: data))


def test_a_nova_that_speaks_our_version_will_do() -> None:
    check_microversion(nova((2, 1), (2, 79)))
    check_microversion(nova((2, 1), (2, 103)))


@pytest.mark.parametrize(("lowest", "highest"), [((2, 1), (2, 78)), ((2, 90), (2, 110))])
def test_a_nova_that_does_not_is_named_as_the_reason(
    lowest: tuple[int, int], highest: tuple[int, int]
) -> None:
    with pytest.raises(Terminal, match=r"2\.79") as refused:
        check_microversion(nova(lowest, highest))
    assert refused.value.code is ErrorCode.UNSUPPORTED


def test_a_nova_that_does_not_say_is_asked_again() -> None:
    with pytest.raises(Retry):
        check_microversion(nova(None, None))


@pytest.mark.parametrize(
    "clouds",
    [
        "clouds: {}",
        "clouds: [\n",
        NOBODY_LISTENS,
    ],
)
async def test_a_login_that_cannot_be_made_is_tried_again(
    clouds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text(clouds)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))
    made = driver("openstack", "there")
    assert isinstance(made, OpenStackDriver)
    with pytest.raises(HostlerError) as refused:
        await made.delete("x", "")
    await made.close()
    assert isinstance(refused.value, Retry)
    assert (refused.value.code, refused.value.uncertain) == (ErrorCode.CLOUD_UNAVAILABLE, False)
