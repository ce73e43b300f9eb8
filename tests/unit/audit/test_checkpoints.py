"""What was signed cannot be replaced unseen, and what is due to go goes by months."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from chassis.database import Database
from chassis.migrations import migrate
from chassis.testing import VirtualClock
from services.audit import checkpoints, verification
from services.audit.app import Audit
from services.audit.checkpoints import sign_heads
from services.audit.ledger import Head, hash_of
from services.audit.partitions import partitions
from services.audit.retention import RefusedError, Retention, upkeep
from services.audit.tables import CHECKPOINTS, HEADS, LEDGER
from tests.unit.audit.world import at, deliver, ledger, made, message, unguarded, verify, walk

AGE = timedelta(minutes=10)
OTHER_KEY = "IB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgE="


async def sign(audit: Audit, rows: int = 1) -> int:
    async with audit.service.database.session() as session:
        return await sign_heads(session, audit.signer, audit.service.clock(), rows, AGE)


async def rewrite(audit: Audit, from_position: int = 1) -> None:
    """Write a chain anew from a row on, with sound hashes and a sound head, as who can write may."""
    rows = [dict(row) for row in await ledger(audit)]
    head = Head()
    async with unguarded(audit) as session:
        for row in rows:
            if row["position"] >= from_position:
                row |= {"actor": "key:somebody-else", "previous_hash": head.hash}
                row["hash"] = hash_of(row)
                mine = LEDGER.c.id == row["id"]
                await session.execute(update(LEDGER).where(mine).values(row))
            head = Head(row["position"], row["hash"])
        await session.execute(update(HEADS).values(hash=head.hash))


async def test_heads_are_signed_after_so_many_rows_or_so_long(
    audit: Audit, clock: VirtualClock
) -> None:
    await deliver(audit, at(message()))
    assert await sign(audit, rows=3) == 1
    assert await sign(audit, rows=3) == 0
    await deliver(audit, at(message()))
    assert await sign(audit, rows=3) == 0
    await deliver(audit, at(message()), at(message()))
    assert await sign(audit, rows=3) == 1
    await deliver(audit, at(message()))
    clock.advance(minutes=10)
    assert await sign(audit, rows=3) == 1
    assert (await verify(audit)).valid


@pytest.mark.parametrize("position", [1, 3])
async def test_a_chain_written_anew_is_found_by_what_was_signed(
    audit: Audit, position: int
) -> None:
    await deliver(audit, *[at(message()) for _ in range(5)])
    await sign(audit)
    await rewrite(audit, position)
    verdict = await verify(audit)
    assert verdict.first_broken is not None
    assert verdict.first_broken.position == 5
    assert "signed" in verdict.first_broken.reason


async def test_without_a_checkpoint_a_chain_written_anew_holds(audit: Audit) -> None:
    await deliver(audit, *[at(message()) for _ in range(5)])
    await rewrite(audit)
    assert (await verify(audit)).valid


async def test_a_checkpoint_of_another_key_or_that_says_another_thing_is_found(
    audit: Audit, clock: VirtualClock
) -> None:
    await deliver(audit, *[at(message()) for _ in range(2)])
    stranger = made(audit.service.settings.database_url, clock, signing_key=OTHER_KEY)
    await sign(stranger)
    assert "not trusted" in await reason(audit)
    public = stranger.signer.public_keys()[0]["x"]
    trusting = made(audit.service.settings.database_url, clock, former_keys=(public,))
    assert (await verify(trusting)).valid
    async with unguarded(audit) as session:
        await session.execute(update(CHECKPOINTS).values(at=clock.advance(days=1)))
    assert "another thing" in await reason(trusting)
    for each in (stranger, trusting):
        await each.service.database.close()


async def test_an_end_cut_off_together_with_its_head_is_found(audit: Audit) -> None:
    await deliver(audit, *[at(message()) for _ in range(4)])
    await sign(audit)
    second = (await ledger(audit))[1]
    async with unguarded(audit) as session:
        await session.execute(delete(LEDGER).where(LEDGER.c.position > 2))
        await session.execute(update(HEADS).values(position=2, hash=second["hash"]))
    assert "checkpoint" in await reason(audit)


async def reason(audit: Audit, *, full: bool = True) -> str:
    verdict = await verify(audit, full=full)
    assert verdict.first_broken is not None
    return verdict.first_broken.reason


async def test_a_walk_stops_at_its_budget_and_the_next_goes_on(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "PAGE", 2)
    await deliver(audit, *[at(message()) for _ in range(7)])
    walked: list[int] = []
    for ended in (False, True):
        progress = await walk(audit, full=False, budget=3).run()
        assert progress.ended is ended
        walked.append(progress.walked)
    assert (walked, progress.rows) == ([4, 3], 7)


async def test_going_on_finds_what_became_of_the_place_where_it_was(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "MARK", 1)
    await deliver(audit, *[at(message()) for _ in range(3)])
    assert (await verify(audit, full=False)).rows == 3
    await deliver(audit, at(message()))
    assert (await walk(audit, full=False).run()).walked == 1
    await rewrite(audit)
    assert "verified before" in await reason(audit, full=False)


async def test_a_verification_that_was_killed_is_done_again(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deliver(audit, *[at(message()) for _ in range(3)])
    run_id = await audit.runs.ask(full=True, asked_by="key:test")
    assert await audit.runs.ask(full=True, asked_by="key:other") == run_id

    async def die(_self: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(verification.Verification, "run", die)
        await audit.runs.work_once()
    assert await audit.runs.work_once()
    row = await audit.runs.find(run_id)
    assert row is not None
    assert (row.rows, row.first_broken, row.ended_at is not None) == (3, None, True)
    assert not await audit.runs.work_once()


async def age(audit: Audit, clock: VirtualClock, months: int) -> None:
    """Let months pass: each with its partition, a few rows on two chains and a checkpoint."""
    for _ in range(months):
        await upkeep(audit.service.database, clock)
        await deliver(audit, *[at(message(time=clock()), n % 2) for n in range(4)])
        await sign(audit)
        clock.advance(days=31)


@pytest.fixture(params=["sqlite", "postgres"])
async def aged(request: pytest.FixtureRequest, clock: VirtualClock) -> Any:
    """A ledger of fourteen months, on a database of its own."""
    audit = made(request.getfixturevalue(f"{request.param}_url"), clock)
    await migrate(audit.service.database)
    await age(audit, clock, 14)
    yield audit
    await audit.service.database.close()


def retention(audit: Audit, days: int) -> Retention:
    service = audit.service
    return Retention(service.database, audit.signer, service.clock, timedelta(days=days))


async def test_old_rows_leave_and_what_stays_is_vouched_for(
    aged: Audit, clock: VirtualClock
) -> None:
    gone = await retention(aged, 60).run()
    kept = await ledger(aged)
    assert gone > 0
    assert gone + len(kept) == 56
    assert all(row["recorded_at"] > clock() - timedelta(days=60 + 31) for row in kept)
    verdict = await verify(aged)
    assert (verdict.valid, verdict.rows) == (True, len(kept))
    assert await retention(aged, 60).run() == 0
    await deliver(aged, at(message(time=clock())))
    assert (await verify(aged)).rows == len(kept) + 1
    async with aged.service.database.reading() as session:
        cuts = await session.execute(select(CHECKPOINTS).where(CHECKPOINTS.c.kind == "cut"))
    assert {row.chain for row in cuts.all()} == {"vm.events/0", "vm.events/1"}


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, during: verification.Verification, happen: Callable[[], Any]
) -> None:
    """Have something happen once, between the first page of a walk and the second."""
    monkeypatch.setattr(verification, "PAGE", 5)
    happened: list[verification.Progress] = []

    async def told(progress: verification.Progress) -> None:
        if not happened:
            happened.append(progress)
            monkeypatch.setattr(verification, "PAGE", 1000)
            await happen()
            monkeypatch.setattr(verification, "PAGE", 5)

    during.told = told


@pytest.mark.parametrize("days", [60, 1])
async def test_rows_that_leave_while_the_ledger_is_walked_are_no_break(
    aged: Audit, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    clock.advance(days=31)
    walking = walk(aged)
    meanwhile(monkeypatch, walking, retention(aged, days).run)
    progress = await walking.run()
    kept = await ledger(aged)
    assert len(kept) < 56
    assert (progress.broken, progress.ended) == (None, True)
    assert (progress.chains, progress.rows) == (2, len(kept))


async def test_a_place_that_leaves_while_a_walk_goes_on_from_it_is_no_break(
    aged: Audit, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(verification, "MARK", 1)
        await verify(aged, full=False)
    clock.advance(days=700)
    await upkeep(aged.service.database, clock)
    await deliver(aged, *[at(message(time=clock()), n % 2) for n in range(4)])
    latest, happened = checkpoints.latest, list[str]()

    async def and_then_cut(*asked: Any) -> Any:
        found = await latest(*asked)
        if asked[2] == "verified" and not happened:
            happened.append("cut")
            await retention(aged, 60).run()
        return found

    monkeypatch.setattr(checkpoints, "latest", and_then_cut)
    verdict = await verify(aged, full=False)
    assert happened
    assert verdict.first_broken is None


async def test_rows_that_somebody_takes_away_beside_retention_are_found(
    aged: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = LEDGER.c.position == 27

    async def cut_and_take() -> None:
        await retention(aged, 60).run()
        async with unguarded(aged) as session:
            await session.execute(delete(LEDGER).where(last))

    walking = walk(aged)
    meanwhile(monkeypatch, walking, cut_and_take)
    broken = (await walking.run()).broken
    assert broken is not None
    assert (broken.position, broken.reason) == (27, "the next row has position 28")


async def test_rows_that_leave_without_a_signed_cut_while_they_are_walked_are_found(
    aged: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take() -> None:
        async with unguarded(aged) as session:
            await session.execute(delete(LEDGER).where(LEDGER.c.position <= 10))

    walking = walk(aged)
    meanwhile(monkeypatch, walking, take)
    broken = (await walking.run()).broken
    assert broken is not None
    assert (broken.chain, broken.position) == ("vm.events/0", 6)


async def test_rows_that_are_missing_without_a_signed_cut_are_found(aged: Audit) -> None:
    await retention(aged, 60).run()
    async with unguarded(aged) as session:
        await session.execute(delete(CHECKPOINTS).where(CHECKPOINTS.c.kind == "cut"))
    assert "no checkpoint says" in await reason(aged)


async def test_what_does_not_verify_is_not_removed(aged: Audit) -> None:
    async with unguarded(aged) as session:
        await session.execute(update(LEDGER).where(LEDGER.c.position == 2).values(actor="x"))
    with pytest.raises(RefusedError):
        await retention(aged, 60).run()
    assert len(await ledger(aged)) == 56


async def test_after_retention_sqlites_guard_stands_again(aged: Audit) -> None:
    await retention(aged, 60).run()
    with pytest.raises(Exception, match="append-only"):
        async with aged.service.database.session() as session:
            await session.execute(text("DELETE FROM ledger"))


async def test_months_without_upkeep_cost_no_row_and_get_a_partition_afterwards(
    postgres_url: str, clock: VirtualClock
) -> None:
    audit = made(postgres_url, clock)
    database: Database = audit.service.database
    await migrate(database)
    await upkeep(database, clock)
    clock.advance(days=700)
    await deliver(audit, at(message(time=clock())), at(message(time=clock())))
    clock.advance(days=40)
    await upkeep(database, clock)
    assert await upkeep(database, clock) == []
    async with database.session() as session:
        assert await session.scalar(text("SELECT count(*) FROM ledger_default")) == 0
        ends = [partition.end for partition in await partitions(session)]
    assert ends == sorted(set(ends))
    assert ends[-1] > clock() + timedelta(days=60)
    await deliver(audit, at(message(time=clock())))
    assert (await verify(audit)).rows == 3
    await database.close()


async def test_a_clock_that_goes_back_does_not_take_rows_back_in_a_chain(
    audit: Audit, clock: VirtualClock
) -> None:
    await deliver(audit, at(message()))
    clock.advance(days=-40)
    await deliver(audit, at(message()))
    first, second = await ledger(audit)
    assert first["recorded_at"] == second["recorded_at"]
