"""What rounds promise to a loop that has more to do than one round takes."""

import asyncio

import pytest

from chassis.rounds import Rounds


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rests that were taken."""
    taken: list[float] = []

    async def sleep(seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return taken


async def test_a_full_round_is_not_rested_after_and_the_next_one_is(rests: list[float]) -> None:
    rounds = Rounds()
    async with rounds:
        rounds.full()
    assert [rest for rest in rests if rest > 0] == []
    rests.clear()
    async with rounds:
        pass
    assert len(rests) == 1
