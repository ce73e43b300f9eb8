"""Pauses grow, and are never nothing."""

from datetime import timedelta

import pytest

from services.provisioner.backoff import backoff

BASE, CAP = timedelta(seconds=1), timedelta(seconds=30)


@pytest.mark.parametrize("attempt", [1, 2, 50])
def test_no_chance_makes_a_pause_of_nothing(attempt: int) -> None:
    assert backoff(attempt, BASE, CAP, lambda: 0.0) == timedelta(milliseconds=100)


def test_chance_takes_any_part_of_what_grows_up_to_the_cap() -> None:
    assert backoff(3, BASE, CAP, lambda: 0.5) == timedelta(seconds=2)
    assert backoff(99, BASE, CAP, lambda: 1.0) == CAP
