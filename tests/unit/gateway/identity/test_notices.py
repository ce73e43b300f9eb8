"""Whoever's account it is hears by mail of what others might have done to it."""

import pytest

from chassis.testing import VirtualClock
from services.gateway.context import Gateway
from tests.unit.gateway.conftest import NewGateway
from tests.unit.gateway.identity.authenticator import Authenticator
from tests.unit.gateway.identity.federated import Fake, enter, federated
from tests.unit.gateway.identity.second import Person, passkey_login, person
from tests.unit.gateway.identity.world import ADA, Postbox, deliver, postbox


@pytest.fixture
async def ada(gateway: Gateway, box: Postbox) -> Person:
    made = await person(gateway)
    await made.enrol(steps=-1)
    await deliver(gateway)
    box.letters.clear()
    return made


async def subjects(gateway: Gateway, box: Postbox) -> list[str]:
    """Of the mails to her that came since; each says what to do about it."""
    await deliver(gateway)
    assert all(each.to == ADA and "If it was not you" in each.text for each in box.letters)
    found = [each.subject.removesuffix(" - Hostler") for each in box.letters]
    box.letters.clear()
    return found


async def test_of_a_code_that_came_again(ada: Person, box: Postbox) -> None:
    await ada.finish(await ada.begin(), code="000000")
    assert await subjects(ada.gateway, box) == []
    code = ada.code()
    assert (await ada.finish(await ada.begin(), code=code)).status_code == 200
    assert (await ada.finish(await ada.begin(), code=code)).status_code == 401
    assert (await ada.finish(await ada.begin(), code=code)).status_code == 401
    # However often it comes: one mail waits.
    assert await subjects(ada.gateway, box) == ["A second factor came twice"]


async def test_of_a_passkey_that_seems_copied(ada: Person, box: Postbox) -> None:
    key = Authenticator()
    await ada.enrol_passkey(key)
    assert (await passkey_login(ada.gateway, key)).status_code == 200
    assert await subjects(ada.gateway, box) == ["There is a new second factor"]
    key.count = 0
    assert (await passkey_login(ada.gateway, key)).status_code == 401
    assert await subjects(ada.gateway, box) == ["A second factor came twice"]


async def test_of_recovery_codes_made_and_used(ada: Person, box: Postbox) -> None:
    assert (await ada.ask("POST", "/v1/me/recovery-codes")).status_code == 201
    assert await subjects(ada.gateway, box) == ["There are new recovery codes"]


async def test_of_an_identity_that_was_linked_to_their_account(
    new_gateway: NewGateway, clock: VirtualClock
) -> None:
    fake = Fake(clock)
    gateway = await federated(new_gateway, fake, link_by_email=True)
    box = postbox(gateway)
    await person(gateway, projects={})
    for _ in range(2):
        assert (await enter(gateway, fake)).status_code == 200
    assert await subjects(gateway, box) == ["There is a new way into your account"]
