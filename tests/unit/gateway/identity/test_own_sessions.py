"""One's own sessions: seen, told apart, and ended one by one; never those of others."""

import pytest

from chassis.ids import new_id
from chassis.testing import VirtualClock, said
from contracts.access.identity import SessionClosed
from services.gateway.context import Gateway
from tests.unit.gateway.conftest import client
from tests.unit.gateway.identity.second import Person, person
from tests.unit.gateway.identity.world import BOB, log_in
from tests.unit.gateway.world import ADMIN_KEY


@pytest.fixture
async def ada(gateway: Gateway) -> Person:
    return await person(gateway)


async def test_a_user_sees_where_they_are_logged_in(ada: Person, clock: VirtualClock) -> None:
    clock.advance(minutes=1)
    await log_in(ada.gateway)
    await person(ada.gateway, BOB)
    items = (await ada.ask("GET", "/v1/me/sessions")).json()["items"]
    assert [each["is_current"] for each in items] == [True, False]
    assert items[0]["id"] == ada.tokens["session_id"]
    assert items[0]["client"].startswith("python-httpx")
    assert (items[0]["address"], items[0]["factor"]) == ("127.0.0.1", None)


async def test_a_session_tells_by_which_factor_it_was_begun(ada: Person) -> None:
    await ada.enrol(steps=-1)
    await ada.finish(await ada.begin(), recovery_code=ada.codes[0])
    items = (await ada.ask("GET", "/v1/me/sessions")).json()["items"]
    assert [each["factor"] for each in items] == ["totp", "recovery_code"]


async def test_one_session_is_ended_and_the_others_go_on(ada: Person) -> None:
    other = Person(ada.gateway, ada.id, await log_in(ada.gateway))
    gone = await ada.ask("DELETE", f"/v1/me/sessions/{other.tokens['session_id']}")
    assert gone.status_code == 204
    assert (await other.ask("GET", "/v1/me")).status_code == 401
    assert (await ada.ask("GET", "/v1/me")).status_code == 200
    assert len((await ada.ask("GET", "/v1/me/sessions")).json()["items"]) == 1
    [closed] = [
        each.data
        for each in await said(ada.gateway.database)
        if isinstance(each.data, SessionClosed)
    ]
    assert (str(closed.session_id), closed.why) == (other.tokens["session_id"], "logout")


async def test_the_session_of_another_is_none(ada: Person) -> None:
    bob = await person(ada.gateway, BOB)
    for session_id in (ada.tokens["session_id"], new_id()):
        assert (await bob.ask("DELETE", f"/v1/me/sessions/{session_id}")).status_code == 404
    assert (await ada.ask("GET", "/v1/me")).status_code == 200


async def test_a_session_that_cannot_be_refreshed_any_more_is_not_listed(
    ada: Person, clock: VirtualClock
) -> None:
    clock.advance(days=7, seconds=1)
    ada.tokens = await log_in(ada.gateway)
    assert len((await ada.ask("GET", "/v1/me/sessions")).json()["items"]) == 1


async def test_a_key_has_no_sessions(gateway: Gateway) -> None:
    async with client(gateway, ADMIN_KEY) as by_key:
        assert (await by_key.get("/v1/me/sessions")).status_code == 403
