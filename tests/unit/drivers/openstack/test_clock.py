"""Which time it is in the cloud."""

from datetime import UTC, datetime, timedelta

import pytest

from drivers.openstack.clock import Clock, http_date

NEAR = timedelta(minutes=1)


def test_the_date_of_an_answer_is_the_clouds_time() -> None:
    clock = Clock()
    clock.learn(datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    assert clock.read("Mon, 23 Nov 2026 12:00:30 GMT") == datetime(
        2026, 11, 23, 12, 0, 30, tzinfo=UTC
    )


def test_without_a_date_our_own_clock_serves() -> None:
    assert abs(Clock().read(None) - datetime.now(UTC)) < NEAR


def test_without_a_date_a_cloud_that_is_an_hour_ahead_is_an_hour_ahead() -> None:
    clock = Clock()
    clock.learn(datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC))
    assert abs(clock.read(None) - datetime.now(UTC) - timedelta(hours=1)) < NEAR


def test_a_difference_within_the_noise_is_none() -> None:
    clock, now = Clock(), datetime.now(UTC)
    clock.learn(now - timedelta(hours=1), now)
    clock.learn(now - timedelta(seconds=1.5), now)
    assert clock.read(None) >= now


@pytest.mark.parametrize("text", [None, "", "soon", "Mon, 99 Nov 2026 12:00:30 GMT"])
def test_nonsense_is_no_date(text: str | None) -> None:
    assert http_date(text) is None
