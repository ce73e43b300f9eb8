"""What an observation says about a command: pure, so every case is one line."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.errors import ErrorCode
from contracts.vm.commands import (
    Create,
    Delete,
    Reboot,
    Start,
    Stop,
    Sync,
    Update,
    VmCommand,
)
from contracts.vm.states import Fault, VmSnapshot, VmState
from services.provisioner.settling import Done, Doubt, Failed, NotYet, Observation, settled

CALLED = datetime(2026, 1, 1, 12, tzinfo=UTC)
MAKE = Create(name="a", flavor="f", image="i")
RENAME = Update(name="new", metadata={"k": "v"}, tags=["a"])
S = VmState


def judge(
    command: VmCommand,
    state: VmState,
    seconds: int = 1,
    *,
    on_behalf: bool = False,
    **fields: Any,
) -> object:
    seen = Observation(
        VmSnapshot(state=state, **fields), CALLED + timedelta(seconds=seconds), on_behalf
    )
    return settled(command, CALLED, seen)


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (MAKE, S.ACTIVE),
        (Stop(), S.STOPPED),
        (Start(), S.ACTIVE),
        (Reboot(), S.ACTIVE),
        (Delete(), S.DELETED),
        (Delete(), S.MISSING),
        (Sync(), S.ACTIVE),
        (Sync(), S.MISSING),
    ],
)
def test_the_wanted_state_seen_after_the_call_is_success(
    command: VmCommand, state: VmState
) -> None:
    assert judge(command, state) == Done()


@pytest.mark.parametrize("command", [MAKE, Stop(), Start(), Reboot(), RENAME])
def test_a_task_under_way_leaves_it_open(command: VmCommand) -> None:
    assert judge(command, S.ACTIVE, task="busy") == NotYet()


@pytest.mark.parametrize("command", [Stop(), Start(), Reboot(), RENAME, MAKE])
def test_what_was_seen_before_the_call_says_nothing(command: VmCommand) -> None:
    for state in (S.ACTIVE, S.STOPPED, S.ERROR, S.MISSING):
        assert judge(command, state, -1) == NotYet()


def test_an_action_that_ends_where_it_began_needs_a_look_in_a_later_second() -> None:
    assert judge(Reboot(), S.ACTIVE, 0) == NotYet()
    assert judge(Reboot(), S.ACTIVE, 1) == Done()


def test_an_action_that_ends_elsewhere_may_be_seen_in_the_second_of_the_call() -> None:
    assert judge(Stop(), S.STOPPED, 0) == Done()


def test_a_sync_ends_by_a_look_made_for_it_whatever_the_clocks_say() -> None:
    assert judge(Sync(), S.ACTIVE, -60) == NotYet()
    assert judge(Sync(), S.ACTIVE, -60, on_behalf=True) == Done()
    assert judge(Sync(), S.ACTIVE, task="migrating", on_behalf=True) == Done()


def test_an_update_is_done_when_every_field_that_was_given_is_seen() -> None:
    shown: dict[str, Any] = {"name": "new", "metadata": {"k": "v"}, "tags": ("a",)}
    assert judge(RENAME, S.ACTIVE, 0, **shown) == Done()
    assert judge(RENAME, S.ERROR, 0, **shown) == Done()
    shown["name"] = "old"
    assert judge(RENAME, S.ACTIVE, 0, **shown) == NotYet()
    assert judge(RENAME, S.ACTIVE, 1, **shown) == Doubt()
    assert judge(Update(description=""), S.ACTIVE, description=None) == Done()


def test_an_error_after_a_create_is_its_failure_in_the_clouds_words() -> None:
    fault = Fault(code=500, message="No valid host was found.")
    for task in (None, "spawning"):
        verdict = judge(MAKE, S.ERROR, 0, fault=fault, task=task)
        assert isinstance(verdict, Failed)
        assert verdict.error.code is ErrorCode.CLOUD_FAULT
        assert verdict.error.detail == "No valid host was found."
        assert not verdict.gone


def test_an_error_where_the_vm_may_have_been_in_error_before_is_only_a_doubt() -> None:
    assert judge(Stop(), S.ERROR) == Doubt()
    assert judge(Delete(), S.ERROR) == Doubt()
    assert isinstance(judge(Start(), S.ERROR), Failed)
    assert isinstance(judge(Reboot(), S.ERROR), Failed)


def test_neither_end_reached_and_nothing_under_way_is_a_doubt() -> None:
    assert judge(Stop(), S.ACTIVE) == Doubt()
    assert judge(Stop(), S.ACTIVE, 0) == NotYet()
    assert judge(Reboot(), S.STOPPED) == Doubt()


@pytest.mark.parametrize("command", [MAKE, Stop(), Delete(), RENAME])
def test_a_cloud_that_does_not_know_settles_nothing(command: VmCommand) -> None:
    assert judge(command, S.UNKNOWN) == NotYet()


def test_a_building_server_is_waited_for_although_no_task_is_shown() -> None:
    assert judge(MAKE, S.BUILDING, 9) == NotYet()


def test_a_server_that_was_stopped_right_after_its_build_was_created() -> None:
    assert judge(MAKE, S.STOPPED) == Done()


def test_a_server_deleted_meanwhile_fails_what_waits_for_another_state() -> None:
    verdict = judge(Stop(), S.DELETED, -1)
    assert isinstance(verdict, Failed)
    assert verdict.error.code is ErrorCode.NO_SERVER
    assert verdict.gone
    missing = judge(MAKE, S.MISSING)
    assert isinstance(missing, Failed)
    assert not missing.gone
