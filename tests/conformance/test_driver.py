"""What every driver promises, on every cloud that it can be tried on; expectations by hand."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import pytest_asyncio

from chassis.errors import Retry, Terminal
from contracts.catalog.events import Flavor, Image, KeyPair, Network
from contracts.errors import ErrorCode
from contracts.vm.commands import Update
from contracts.vm.fields import MARK
from contracts.vm.states import VmState
from drivers.base import Driver, Glances, Pauses, Powers, Reboots, Rests, Tenancies
from tests.conformance.account import Account, new_request_id, open_driver, opened_account
from tests.conformance.targets import DRIVERS, Control, Target, opened
from tests.infra.plan import Infrastructure

pytestmark = pytest.mark.timeout(300)  # a real cloud takes its time
NOBODY = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(scope="module", params=DRIVERS)
def target(request: pytest.FixtureRequest, infrastructure: Infrastructure) -> Iterator[Target]:
    with opened(request.param, infrastructure.cloud()) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def account(target: Target) -> AsyncIterator[Account]:
    async with opened_account(target.paged(1000)) as made:
        yield made


@pytest.fixture
def driver(account: Account) -> Driver:
    return account.driver


@pytest.fixture
def powers(driver: Driver) -> Powers:
    if not isinstance(driver, Powers):
        pytest.skip("the driver cannot power servers on and off")
    return driver


@pytest.fixture
def reboots(driver: Driver) -> Reboots:
    if not isinstance(driver, Reboots):
        pytest.skip("the driver cannot reboot servers")
    return driver


@pytest.fixture
def pauses(driver: Driver) -> Pauses:
    if not isinstance(driver, Pauses):
        pytest.skip("the driver cannot pause servers")
    return driver


@pytest.fixture
def control(target: Target) -> Iterator[Control]:
    if target.control is None:
        pytest.skip("only a simulated cloud has faults to order")
    yield target.control
    for ordered in ("/faults", "/builds"):
        target.control.forget(ordered)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(account: Account) -> str:
    """A server that many tests use; each leaves it active."""
    return await account.active()


async def test_a_created_server_becomes_active_as_asked_and_carries_its_mark(
    account: Account, driver: Driver
) -> None:
    mark = account.new_mark()
    name = f"{account.project_id} grüße"
    server_id = await account.active(
        mark, name=name, description="a, b (c)", metadata={"a": "b"}, tags=["x", "ü"]
    )
    (seen,) = (await driver.look(server_id)).servers
    vm = seen.snapshot
    assert seen.mark == mark
    assert (vm.server_id, vm.name, vm.description) == (server_id, name, "a, b (c)")
    assert (vm.state, vm.task, vm.fault) == (VmState.ACTIVE, None, None)
    assert (vm.metadata, vm.tags) == ({"a": "b"}, ("x", "ü"))
    assert vm.image == account.offer.image
    assert vm.flavor
    assert [a.kind for a in vm.addresses] == ["fixed"]
    assert vm.created_at is not None
    assert vm.updated_at is not None


async def test_a_server_is_found_by_its_mark_from_the_moment_it_is_asked_for(
    account: Account, driver: Driver
) -> None:
    mark = account.new_mark()
    issued = await account.create(mark)
    found = await driver.find(mark)
    assert [(s.snapshot.server_id, s.mark) for s in found.servers] == [(issued.server_id, mark)]


async def test_two_servers_of_one_mark_are_both_found_the_older_first(
    account: Account, driver: Driver
) -> None:
    mark = account.new_mark()
    first = await account.active(mark, networks=[])
    second = await account.active(mark, networks=[])
    found = await driver.find(mark)
    assert [s.snapshot.server_id for s in found.servers] == [first, second]


async def test_nothing_is_found_for_a_mark_that_no_server_carries(
    account: Account, driver: Driver
) -> None:
    assert (await driver.find(account.new_mark())).servers in ([], ())


async def test_a_server_without_networks_has_no_address(account: Account) -> None:
    server_id = await account.active(networks=[])
    vm = await account.snapshot(server_id)
    assert vm is not None
    assert vm.addresses == ()


async def test_an_order_to_a_server_that_is_being_built_waits_its_turn(
    account: Account, reboots: Reboots
) -> None:
    issued = await account.create()
    with pytest.raises(Retry) as refused:
        await reboots.reboot(issued.server_id, hard=True, request_id=new_request_id())
    assert refused.value.code is ErrorCode.CLOUD_BUSY
    assert refused.value.after is not None
    assert not refused.value.uncertain


async def test_stopping_and_starting_again_and_again_succeeds(
    account: Account, powers: Powers, server: str
) -> None:
    await powers.stop(server, new_request_id())
    await account.settled(server, VmState.STOPPED)
    again = await powers.stop(server, new_request_id())
    assert again.server_id == server
    await powers.start(server, new_request_id())
    await account.settled(server, VmState.ACTIVE)
    assert (await powers.start(server, new_request_id())).server_id == server
    assert (await account.settled(server, VmState.ACTIVE)).state is VmState.ACTIVE


async def test_an_order_that_is_given_twice_at_once_succeeds_or_waits_its_turn(
    account: Account, powers: Powers, server: str
) -> None:
    await powers.stop(server, new_request_id())
    try:
        await powers.stop(server, new_request_id())
    except Retry as busy:
        assert busy.code is ErrorCode.CLOUD_BUSY  # noqa: PT017 - either way is right
    await account.settled(server, VmState.STOPPED)
    await powers.start(server, new_request_id())
    await account.settled(server, VmState.ACTIVE)


@pytest.mark.parametrize("hard", [False, True])
async def test_a_reboot_is_remembered_by_the_cloud_under_the_id_that_it_gave(
    account: Account, driver: Driver, reboots: Reboots, server: str, hard: bool
) -> None:
    issued = await reboots.reboot(server, hard=hard, request_id=new_request_id())
    await account.settled(server, VmState.ACTIVE)
    assert issued.cloud_request_id is not None
    latest = (await driver.actions(server))[0]
    (same,) = await driver.actions(server, issued.cloud_request_id)
    assert latest == same
    assert (latest.action, latest.request_id) == ("reboot", issued.cloud_request_id)
    assert (latest.failed, latest.finished) == (False, True)
    assert abs(latest.started_at - issued.called_at) < timedelta(seconds=30)


async def test_pausing_and_unpausing_again_and_again_succeeds(
    account: Account, pauses: Pauses, server: str
) -> None:
    await pauses.pause(server, new_request_id())
    await account.settled(server, VmState.PAUSED)
    assert (await pauses.pause(server, new_request_id())).server_id == server
    await pauses.unpause(server, new_request_id())
    await account.settled(server, VmState.ACTIVE)
    assert (await pauses.unpause(server, new_request_id())).server_id == server


async def test_a_server_that_is_off_cannot_be_asked_to_reboot(
    account: Account, powers: Powers, reboots: Reboots, server: str
) -> None:
    await powers.stop(server, new_request_id())
    await account.settled(server, VmState.STOPPED)
    with pytest.raises(Terminal) as refused:
        await reboots.reboot(server, hard=False, request_id=new_request_id())
    await powers.start(server, new_request_id())
    await account.settled(server, VmState.ACTIVE)
    assert refused.value.code is ErrorCode.CLOUD_REFUSED
    assert "vm_state stopped" in refused.value.detail


async def test_an_update_sets_what_it_gives_and_keeps_the_mark(
    account: Account, driver: Driver
) -> None:
    mark = account.new_mark()
    server_id = await account.active(
        mark, networks=[], metadata={"old": "1"}, tags=["old"], description="old"
    )
    name = f"{account.project_id}-renamed"
    wanted = Update(name=name, description="", metadata={"new": "2"}, tags=["b", "a"])
    assert (await driver.update(server_id, wanted, new_request_id())).server_id == server_id
    assert (await driver.update(server_id, wanted, new_request_id())).server_id == server_id
    (seen,) = (await driver.look(server_id)).servers
    vm = seen.snapshot
    assert (vm.name, vm.description or "") == (name, "")
    assert (vm.metadata, vm.tags) == ({"new": "2"}, ("a", "b"))
    assert seen.mark == mark

    await driver.update(server_id, Update(tags=[]), new_request_id())
    (seen,) = (await driver.look(server_id)).servers
    assert (seen.snapshot.name, seen.snapshot.metadata) == (name, {"new": "2"})
    assert (seen.snapshot.tags, seen.mark) == ((), mark)


async def test_a_deleted_server_goes_and_deleting_it_again_succeeds(
    account: Account, driver: Driver
) -> None:
    mark = account.new_mark()
    server_id = await account.active(mark, networks=[])
    before = (await driver.look(server_id)).clock
    await driver.delete(server_id, new_request_id())
    await account.gone(server_id)
    assert (await driver.delete(server_id, new_request_id())).server_id == server_id
    assert not (await driver.find(mark)).servers
    swept = [each async for page in driver.sweep(before) for each in page.servers]
    (gone,) = [each for each in swept if each.snapshot.server_id == server_id]
    assert gone.snapshot.state is VmState.DELETED


async def test_a_server_can_be_deleted_while_it_is_being_built(
    account: Account, driver: Driver
) -> None:
    issued = await account.create()
    await driver.delete(issued.server_id, new_request_id())
    await account.gone(issued.server_id)


async def test_a_server_that_never_was_is_not_seen_and_takes_no_orders(
    account: Account, driver: Driver, powers: Powers, reboots: Reboots
) -> None:
    assert not (await driver.look(NOBODY)).servers
    assert not await driver.actions(NOBODY)
    assert not await driver.actions(NOBODY, new_request_id())
    await driver.delete(NOBODY, new_request_id())
    for asked in (
        powers.start(NOBODY, new_request_id()),
        powers.stop(NOBODY, new_request_id()),
        reboots.reboot(NOBODY, hard=True, request_id=new_request_id()),
        driver.update(NOBODY, Update(name="x"), new_request_id()),
        driver.update(NOBODY, Update(tags=["x"]), new_request_id()),
        driver.update(NOBODY, Update(metadata={}), new_request_id()),
    ):
        with pytest.raises(Terminal) as refused:
            await asked
        assert refused.value.code is ErrorCode.NO_SERVER


async def test_a_sweep_shows_every_server_once_whatever_the_page(
    account: Account, driver: Driver, target: Target
) -> None:
    made = [(await account.create(networks=[])).server_id for _ in range(5)]
    for server_id in made:
        await account.settled(server_id, VmState.ACTIVE)
    small = target.paged(2)
    pages = [page async for page in small.sweep(None)]
    await small.close()
    swept = [str(each.snapshot.server_id) for page in pages for each in page.servers]
    assert len(swept) == len(set(swept))
    assert set(made) <= set(swept)
    assert all(len(page.servers) <= 2 for page in pages)
    assert len({page.clock for page in pages}) == 1


async def test_servers_at_a_glance_are_those_of_a_sweep_and_are_known_again_by_fingerprint(
    account: Account, server: str, target: Target
) -> None:
    await account.create(networks=[])
    small = target.paged(1)
    if not isinstance(small, Glances):
        pytest.skip("the driver cannot pass over servers")
    nothing: dict[str, bytes] = {}
    glanced = [each async for page in small.glance(None, nothing.get) for each in page.servers]
    known = {each.server_id: each.fingerprint for each in glanced}
    again = [each async for page in small.glance(None, known.get) for each in page.servers]
    swept = [each async for page in small.sweep(None) for each in page.servers]
    await small.close()
    assert [each.server_id for each in glanced] == [each.snapshot.server_id for each in swept]
    settled = [n for n, each in enumerate(swept) if each.snapshot.server_id == server]
    assert settled
    for n in settled:
        assert glanced[n].read() == again[n].read() == swept[n]
        assert glanced[n].fingerprint == again[n].fingerprint


async def test_a_sweep_since_a_moment_shows_what_changed_after_it_and_no_more(
    account: Account, driver: Driver, powers: Powers, server: str
) -> None:
    other = await account.active(networks=[])
    settled = await account.snapshot(other)
    assert settled is not None
    assert settled.updated_at is not None
    since = settled.updated_at + timedelta(seconds=1)
    await account.clock_reaches(since)
    await powers.stop(server, new_request_id())
    await account.settled(server, VmState.STOPPED)
    pages = [page async for page in driver.sweep(since)]
    await powers.start(server, new_request_id())
    await account.settled(server, VmState.ACTIVE)
    swept = [each.snapshot for page in pages for each in page.servers]
    assert server in [vm.server_id for vm in swept]
    assert all(vm.updated_at is None or vm.updated_at >= since for vm in swept)
    assert other not in [vm.server_id for vm in swept]


@pytest.mark.parametrize("field", ["flavor", "image"])
async def test_an_unknown_flavor_or_image_is_refused_in_the_clouds_words(
    account: Account, driver: Driver, field: str
) -> None:
    mark = account.new_mark()
    with pytest.raises(Terminal) as refused:
        await account.create(mark, **{field: str(uuid4())})
    assert refused.value.code is ErrorCode.CLOUD_REFUSED
    assert field in refused.value.detail.lower()
    assert not (await driver.find(mark)).servers


async def test_the_catalog_says_what_vms_can_be_made_of(account: Account, driver: Driver) -> None:
    items = [item async for item in driver.catalog()]
    flavors = {i.id: i for i in items if isinstance(i, Flavor)}
    images = {i.id: i for i in items if isinstance(i, Image)}
    networks = {i.id: i for i in items if isinstance(i, Network)}
    assert flavors[account.offer.flavor].vcpus > 0
    assert flavors[account.offer.flavor].ram_mb > 0
    assert images[account.offer.image].status == "active"
    assert networks[account.offer.network].subnets
    assert not networks[account.offer.network].external
    assert all(pair.id == pair.name for pair in items if isinstance(pair, KeyPair))
    assert len({(item.type, item.id) for item in items}) == len(items)


async def test_the_clouds_clock_is_never_ahead_of_the_question_or_behind_the_answer(
    driver: Driver, powers: Powers, server: str
) -> None:
    near = timedelta(seconds=10)
    before = await driver.look(server)
    issued = await powers.start(server, new_request_id())
    after = await driver.look(server)
    assert abs(before.clock - datetime.now(UTC)) < near
    assert abs(issued.called_at - datetime.now(UTC)) < near
    assert before.clock <= issued.called_at
    assert before.clock <= after.clock
    assert {c.microsecond for c in (before.clock, issued.called_at, after.clock)} == {0}


async def test_a_cloud_that_answers_is_there(driver: Driver) -> None:
    await driver.ping()


async def test_marks_are_out_of_sight(driver: Driver, server: str) -> None:
    (seen,) = (await driver.look(server)).servers
    assert seen.mark is not None
    assert not [tag for tag in seen.snapshot.tags if tag.startswith(MARK)]


async def test_a_create_costs_one_call(account: Account, control: Control) -> None:
    control.forget("/calls")
    await account.create()
    assert control.calls() == [("POST", "/v2.1/servers")]


async def test_the_request_id_reaches_the_cloud(
    account: Account, driver: Driver, control: Control
) -> None:
    request_id = new_request_id()
    await driver.create(account.new_mark(), account.wanted(), request_id)
    assert control.calls(global_request_id=request_id) == [("POST", "/v2.1/servers")]


@pytest.mark.parametrize(
    "effect",
    [
        {"kind": "drop", "when": "after"},
        {"kind": "status", "when": "after", "status": 500},
        {"kind": "status", "when": "after", "status": 503},
        {"kind": "status", "when": "after", "status": 504},
    ],
)
async def test_a_lost_answer_to_a_create_is_uncertain_and_the_server_is_found(
    account: Account, driver: Driver, control: Control, effect: dict[str, object]
) -> None:
    match = {"service": "compute", "method": "POST", "path_regex": "/servers$"}
    control.order("/faults", match=match, effect=effect)
    mark = account.new_mark()
    with pytest.raises(Retry) as lost:
        await account.create(mark)
    assert (lost.value.code, lost.value.uncertain) == (ErrorCode.CLOUD_UNAVAILABLE, True)
    assert len((await driver.find(mark)).servers) == 1


@pytest.mark.parametrize(("status", "code"), [(429, "cloud_busy"), (503, "cloud_unavailable")])
async def test_a_cloud_that_says_when_to_come_back_is_believed(
    target: Target, control: Control, server: str, status: int, code: str
) -> None:
    effect = {"kind": "status", "when": "before", "status": status, "retry_after": 7}
    async with open_driver(target.paged(1000)) as told:
        await told.ping()
        control.order("/faults", match={"service": "compute"}, effect=effect)
        with pytest.raises(Retry) as refused:
            await told.look(server)
        assert (refused.value.code, refused.value.uncertain) == (code, False)
        assert refused.value.after == timedelta(seconds=7)
        if isinstance(told, Rests):
            await _rests(told, told, control)


async def _rests(resting: Rests, driver: Driver, control: Control) -> None:
    """Nothing is sent while the account rests, and it says until when."""
    until = resting.rests_until()
    assert until is not None
    assert until - datetime.now(UTC) <= timedelta(seconds=7)
    control.forget("/calls")
    with pytest.raises(Retry) as refused:
        await driver.delete(NOBODY, new_request_id())
    assert not refused.value.uncertain
    assert refused.value.after is not None
    assert control.calls(service="compute") == []


async def test_the_tenant_is_the_project_in_which_the_cloud_has_the_accounts_servers(
    target: Target, driver: Driver
) -> None:
    if not isinstance(driver, Tenancies):
        pytest.skip("the driver's cloud does not say whose servers are")
    assert await driver.tenant() == target.tenant


async def test_a_cloud_that_answers_nothing_is_not_asked_again_and_again(
    target: Target, control: Control
) -> None:
    async with open_driver(target.paged(1000)) as driver:
        if not isinstance(driver, Rests):
            pytest.skip("the driver does not know when its cloud is not to be asked")
        assert driver.rests_until() is None
        await driver.ping()
        control.order("/faults", match={"service": "compute"}, effect={"kind": "drop"}, times=None)
        for _ in range(20):
            with pytest.raises(Retry):
                await driver.delete(NOBODY, new_request_id())
        assert driver.rests_until() is not None
        control.forget("/calls")
        with pytest.raises(Retry) as refused:
            await driver.delete(NOBODY, new_request_id())
        assert not refused.value.uncertain
        assert control.calls(service="compute") == []


async def test_a_token_that_ends_soon_is_renewed_before_a_call(
    target: Target, control: Control
) -> None:
    control.order("/tokens/expire", ttl=30)
    try:
        async with open_driver(target.paged(1000)) as driver:
            await driver.ping()
            control.forget("/calls")
            await driver.delete(NOBODY, new_request_id())
            calls = [template for _, template in control.calls()]
    finally:
        control.order("/tokens/expire", ttl=3600)
    assert calls[0] == "/v3/auth/tokens"


async def test_a_failed_look_is_never_taken_for_a_missing_server(
    driver: Driver, control: Control, server: str
) -> None:
    page = "<html><body>404 Not Found: no backend</body></html>"
    effect = {"kind": "status", "when": "before", "status": 404, "body": page}
    control.order("/faults", match={"service": "compute"}, effect=effect)
    with pytest.raises(Retry):
        await driver.look(server)
    assert (await driver.look(server)).servers


async def test_a_sweep_that_breaks_off_is_not_taken_for_a_short_list(
    account: Account, target: Target, control: Control
) -> None:
    for _ in range(3):
        await account.create()
    small = target.paged(1)
    await small.ping()
    match, effect = {"path_regex": "/servers/detail"}, {"kind": "drop"}
    control.order("/faults", match=match, effect=effect, after_calls=1)
    with pytest.raises(Retry):
        _ = [page async for page in small.sweep(None)]
    await small.close()


async def test_a_full_account_is_waited_for(account: Account, control: Control) -> None:
    control.order("/quota", instances=0)
    try:
        with pytest.raises(Retry) as refused:
            await account.create()
    finally:
        control.order("/quota", instances=-1)
    assert (refused.value.code, refused.value.blocked_on) == (ErrorCode.QUOTA, "quota")
    assert not refused.value.uncertain
    assert "quota" in refused.value.detail.lower()


async def test_a_token_that_has_expired_is_renewed(
    driver: Driver, control: Control, server: str
) -> None:
    control.order("/tokens/expire")
    assert (await driver.look(server)).servers


async def test_a_build_that_fails_says_why(account: Account, control: Control) -> None:
    name = f"{account.project_id}-broken"
    control.order("/builds", outcome="error", reason="no_host", name_regex=name)
    issued = await account.create(name=name)
    vm = await account.until(issued.server_id, lambda vm: vm is not None and vm.fault is not None)
    assert vm is not None
    assert vm.fault is not None
    assert vm.state is VmState.ERROR
    assert "No valid host" in vm.fault.message
