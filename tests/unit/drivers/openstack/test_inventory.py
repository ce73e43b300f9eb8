"""What belongs to servers: where the cloud lacks a service, lies or says odd things."""

from uuid import UUID

import pytest
from openstack import exceptions as sdk

from chassis.errors import HostlerError, Retry, Terminal
from contracts.errors import ErrorCode
from drivers.base import Mark, Resource
from drivers.openstack import connection
from drivers.openstack.belongings import FloatingIp, Port, Volume
from drivers.openstack.calls import Call
from drivers.openstack.connection import Connection
from drivers.openstack.driver import OpenStackDriver
from drivers.openstack.settings import OpenStackSettings
from tests.unit.drivers.openstack.answers import answer
from tests.unit.drivers.openstack.conftest import Sending

MARK = Mark(UUID("6a0a2d50-86b3-4b6e-92ef-a4617e530bcc"), "p")
TAGS = [f"hostler:vm:{MARK.vm_id}", "hostler:project:p"]
PORT = Resource("port", "a", "", None, "s")
NONE = answer(404, {"NeutronError": {"type": "PortNotFound", "message": "none", "detail": ""}})
NO_SERVER = answer(404, {"itemNotFound": {"code": 404, "message": "none"}})


def port(**fields: object) -> dict[str, object]:
    return {"id": "a", "device_id": "s", "device_owner": "compute:nova", **fields}


@pytest.fixture
def driver() -> OpenStackDriver:
    return OpenStackDriver("demo", OpenStackSettings())


async def refused(driver: OpenStackDriver, resource: Resource = PORT) -> HostlerError:
    with pytest.raises(HostlerError) as found:
        await driver.remove(resource, "")
    return found.value


async def test_a_cloud_without_cinder_has_no_volumes(
    driver: OpenStackDriver, sending: Sending
) -> None:
    sending.results = [
        answer(200, {"ports": [port(tags=TAGS)]}),
        answer(200, {"floatingips": []}),
        Terminal(ErrorCode.UNSUPPORTED),
    ]
    pages = [page async for page in driver.inventory()]
    assert [(r.id, r.mark, r.server_id) for page in pages for r in page] == [("a", MARK, "s")]


def test_a_service_that_the_account_lacks_is_told_and_the_login_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[Connection] = []

    def lack(*_: object) -> None:
        raise sdk.ServiceDisabledException("no volume service in the catalog")

    def connect(_: Connection) -> None:
        return None

    monkeypatch.setattr(Connection, "_connect", connect)
    monkeypatch.setattr(Connection, "close", closed.append)
    monkeypatch.setattr(connection, "_adapter", lack)
    with pytest.raises(Terminal) as told:
        Connection("demo", OpenStackSettings()).send(Call("volume", "GET", "/volumes/detail"))
    assert (told.value.code, closed) == (ErrorCode.UNSUPPORTED, [])


async def test_a_list_that_cannot_be_had_is_not_taken_for_empty(
    driver: OpenStackDriver, sending: Sending
) -> None:
    sending.results = [answer(200, {"ports": []}), answer(503, b"<html>")]
    with pytest.raises(Retry):
        _ = [page async for page in driver.inventory()]
    sending.results = [answer(200, {"unexpected": []})]
    with pytest.raises(Retry):
        await driver.belongings(MARK, None)


async def test_a_filter_that_the_cloud_ignores_makes_nothing_a_vms(
    driver: OpenStackDriver, sending: Sending
) -> None:
    other = [f"hostler:vm:{UUID(int=1)}", "hostler:project:p"]
    sending.results = [
        answer(200, {"ports": [port(tags=other), port(id="b")]}),
        answer(200, {"floatingips": [{"id": "f"}]}),
        answer(200, {"volumes": [{"id": "v", "metadata": {"hostler:vm": str(MARK.vm_id)}}]}),
        answer(200, {"ports": [port(id="c", device_id="another")]}),
    ]
    assert await driver.belongings(MARK, "s") == []


@pytest.mark.parametrize("status", [400, 409])
async def test_what_the_cloud_says_is_in_use_is_tried_again(
    driver: OpenStackDriver, sending: Sending, status: int
) -> None:
    used = answer(status, {"NeutronError": {"type": "PortInUse", "message": "in use"}})
    sending.results = [answer(200, {"port": port()}), NO_SERVER, used]
    refusal = await refused(driver)
    assert isinstance(refusal, Retry)
    assert (refusal.code, refusal.detail, refusal.uncertain) == ("cloud_busy", "in use", False)
    assert refusal.after is not None


async def test_what_is_gone_in_between_is_a_success(
    driver: OpenStackDriver, sending: Sending
) -> None:
    sending.results = [answer(200, {"port": port()}), NO_SERVER, NONE]
    await driver.remove(PORT, "")
    assert [call.method for call in sending.calls] == ["GET", "GET", "DELETE"]


async def test_a_volume_that_is_being_deleted_is_not_asked_to_end_again(
    driver: OpenStackDriver, sending: Sending
) -> None:
    sending.results = [answer(200, {"volume": {"id": "a", "status": "deleting"}})]
    await driver.remove(Resource("volume", "a", "", None, None), "")
    assert [call.method for call in sending.calls] == ["GET"]


@pytest.mark.parametrize("lies", [0, 1, 2])
async def test_a_proxys_404_never_means_that_something_is_gone(
    driver: OpenStackDriver, sending: Sending, lies: int
) -> None:
    truth = [answer(200, {"port": port()}), NO_SERVER]
    sending.results = [*truth[:lies], answer(404, b"<html>no backend</html>")]
    assert isinstance(await refused(driver), Retry)


async def test_a_lost_answer_to_a_removal_is_uncertain(
    driver: OpenStackDriver, sending: Sending
) -> None:
    sending.results = [answer(200, {"port": port()}), NO_SERVER, answer(502, b"")]
    refusal = await refused(driver)
    assert isinstance(refusal, Retry)
    assert refusal.uncertain


@pytest.mark.parametrize(
    ("kind", "there"),
    [
        ("port", {"port": port(device_id="another")}),
        ("port", {"port": port(tags=TAGS)}),
        ("port", {"port": port(device_id="r", device_owner="network:router_interface")}),
        ("floating_ip", {"floatingip": {"id": "a", "port_id": "p", "port_details": None}}),
        ("volume", {"volume": {"id": "a", "attachments": [{"server_id": "another"}]}}),
    ],
)
async def test_what_is_anothers_by_now_is_left_alone(
    driver: OpenStackDriver, sending: Sending, kind: str, there: dict[str, object]
) -> None:
    sending.results = [answer(200, there), NO_SERVER]
    resource = Resource(kind, "a", "", None, "s")  # pyright: ignore[reportArgumentType] - one of them
    assert (await refused(driver, resource)).code is ErrorCode.CLOUD_BUSY
    assert [call.method for call in sending.calls] == ["GET"]


def test_ports_of_routers_dhcp_and_load_balancers_are_not_vms() -> None:
    for owner in ("network:router_interface", "network:dhcp", "Octavia", "trunk:subport"):
        assert not Port(id="a", device_owner=owner).may_be_a_vms
    assert Port(id="a").may_be_a_vms
    assert Port(id="a", device_owner="compute:az1").may_be_a_vms


@pytest.mark.parametrize("field", [{"name": "x"}, {"description": "x"}, {"tags": ["x"]}])
def test_a_port_that_somebody_gave_a_name_was_not_made_by_nova(field: dict[str, object]) -> None:
    bare = port()
    assert Port.model_validate(bare).made_by_nova
    assert not Port.model_validate({**bare, **field}).made_by_nova
    assert not Port.model_validate({**bare, "device_owner": ""}).made_by_nova


def test_old_clouds_leave_fields_out() -> None:
    assert Port.model_validate({"id": "a"}).resource() == Resource("port", "a", "", None, None)
    bare = FloatingIp.model_validate({"id": "a"})
    assert (bare.resource().server_id, bare.held) == (None, False)
    assert Volume.model_validate({"id": "a", "name": None}).resource().name == ""
