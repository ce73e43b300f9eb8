"""Rounds rest under load and never in front of what comes alone."""

from chassis.rounds import Rounds


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def rest_after(rounds: Rounds, hands: Hands, work: float, pause: float = 0.0) -> float:
    """How long is rested after one more round that begins after a pause."""
    hands.now += pause
    await rounds.__aenter__()
    hands.now += work
    await rounds.__aexit__(ValueError, ValueError(), None)  # so that the test itself rests not
    return rounds.rest()


async def test_a_loop_that_works_for_a_third_of_the_time_never_rests() -> None:
    hands = Hands()
    rounds = Rounds(0.1, grace=0.2, now=hands)
    assert {await rest_after(rounds, hands, 0.05, pause=0.1) for _ in range(100)} == {0.0}


async def test_a_loop_that_works_without_a_pause_rests_as_long_as_it_works() -> None:
    hands = Hands()
    rounds = Rounds(0.1, grace=0.2, now=hands)
    rests = [await rest_after(rounds, hands, 0.05) for _ in range(8)]
    assert rests[:3] == [0.0, 0.0, 0.0]
    assert [round(rest, 3) for rest in rests[5:]] == [0.05] * 3


async def test_no_rest_is_longer_than_the_longest() -> None:
    hands = Hands()
    rounds = Rounds(0.1, grace=0.2, now=hands)
    assert await rest_after(rounds, hands, 30.0) == 0.1


async def test_pauses_make_up_for_work_and_are_not_saved_up() -> None:
    hands = Hands()
    rounds = Rounds(0.1, grace=0.2, now=hands)
    assert await rest_after(rounds, hands, 1.0) == 0.1
    assert await rest_after(rounds, hands, 0.05, pause=1000.0) == 0.0
    assert await rest_after(rounds, hands, 0.25) == 0.1


async def test_a_full_round_is_not_rested_after_and_the_next_one_is() -> None:
    hands = Hands()
    rounds = Rounds(0.1, grace=0.2, now=hands)
    assert await rest_after(rounds, hands, 1.0) == 0.1
    async with rounds:
        hands.now += 1.0
        rounds.filled(1)
    assert rounds.rest() == 0.0
    assert round(await rest_after(rounds, hands, 0.05), 3) == 0.05


async def test_rounds_with_a_pace_begin_that_far_apart_and_what_comes_alone_waits_for_none() -> (
    None
):
    hands = Hands()
    rounds = Rounds(0.1, grace=0.2, pace=0.05, now=hands)
    assert round(await rest_after(rounds, hands, 0.02), 3) == 0.03
    assert round(await rest_after(rounds, hands, 0.02, pause=1000.0), 3) == 0.03
    assert await rest_after(rounds, hands, 0.06, pause=1.0) == 0.0
    async with rounds:
        rounds.filled(0.5)
    assert rounds.rest() == 0.0
