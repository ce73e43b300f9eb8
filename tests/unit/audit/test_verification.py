from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Update, delete, update

from services.audit import verification
from services.audit.app import Audit
from services.audit.ledger import ACCESS, GENESIS, hash_of
from services.audit.tables import HEADS, LEDGER
from services.audit.verification import Broken
from tests.unit.audit.world import at, deliver, ledger, message, unguarded, verify

CHAIN = "vm.events/1"


@pytest.fixture
async def filled(audit: Audit) -> Audit:
    """Seven rows in one chain, three in another."""
    await deliver(audit, *[at(message(), 1) for _ in range(7)])
    await deliver(audit, *[at(message(), 0) for _ in range(3)])
    return audit


async def tamper(audit: Audit, *statements: Any) -> None:
    async with unguarded(audit) as session:
        for statement in statements:
            await session.execute(statement)


async def broken(audit: Audit) -> Broken:
    verdict = await verify(audit)
    assert not verdict.valid
    assert verdict.first_broken is not None
    return verdict.first_broken


async def ids(audit: Audit) -> Sequence[int]:
    return [row["id"] for row in await ledger(audit) if row["chain"] == CHAIN]


def row(position: int) -> Update:
    return update(LEDGER).where(LEDGER.c.chain == CHAIN, LEDGER.c.position == position)


async def test_an_empty_ledger_holds(audit: Audit) -> None:
    verdict = await verify(audit)
    assert (verdict.valid, verdict.chains, verdict.rows) == (True, 0, 0)


async def test_a_sound_ledger_holds_however_large_the_pages(
    filled: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in (1, 3, 7, 1000):
        monkeypatch.setattr(verification, "PAGE", page)
        verdict = await verify(filled)
        assert (verdict.valid, verdict.chains, verdict.rows) == (True, 2, 10)
        assert verdict.first_broken is None


CHANGES: list[tuple[str, object]] = [
    ("message_id", message().id),
    ("type", "vm.stopped.v1"),
    ("time", message().time + timedelta(microseconds=1)),
    ("source", "hostler/sync"),
    ("subject", "another"),
    ("vm_id", None),
    ("project_id", "another"),
    ("account", ""),
    ("actor", "key:another"),
    ("operation_id", message().id),
    ("request_id", ""),
    ("data", "{}"),
    ("recorded_at", message().time + timedelta(days=1)),
    ("previous_hash", GENESIS),
    ("hash", GENESIS),
    *((name, "another") for name in ACCESS),
]


async def test_a_changed_field_is_found_whichever_it_is(filled: Audit) -> None:
    fourth = (await ledger(filled))[3]
    for field, value in CHANGES:
        await tamper(filled, row(4).values({field: value}))
        found = await broken(filled)
        assert (found.chain, found.position, found.id) == (CHAIN, 4, fourth["id"]), field
        await tamper(filled, row(4).values({field: fourth[field]}))
    assert (await verify(filled)).valid
    assert {field for field, _ in CHANGES} == set(fourth) - {"id", "chain", "position"}


async def test_a_row_changed_together_with_its_hash_is_found(filled: Audit) -> None:
    fourth = {**(await ledger(filled))[3], "actor": "key:another"}
    await tamper(filled, row(4).values(actor="key:another", hash=hash_of(fourth)))
    found = await broken(filled)
    assert (found.position, found.reason) == (
        5,
        "the row does not hold the hash of the row before it",
    )


async def test_a_last_row_changed_together_with_its_hash_is_found(filled: Audit) -> None:
    last = {**(await ledger(filled))[6], "actor": "key:another"}
    await tamper(filled, row(7).values(actor="key:another", hash=hash_of(last)))
    assert "head" in (await broken(filled)).reason


@pytest.mark.parametrize("position", [1, 4])
async def test_a_row_removed_in_the_middle_is_found(filled: Audit, position: int) -> None:
    following = (await ids(filled))[position]
    await tamper(
        filled, delete(LEDGER).where(LEDGER.c.chain == CHAIN, LEDGER.c.position == position)
    )
    found = await broken(filled)
    assert (found.chain, found.position, found.id) == (CHAIN, position, following)


async def test_an_end_that_was_cut_off_is_found(filled: Audit) -> None:
    await tamper(filled, delete(LEDGER).where(LEDGER.c.chain == CHAIN, LEDGER.c.position > 5))
    found = await broken(filled)
    assert (found.chain, found.position, found.id) == (CHAIN, 6, None)


async def test_a_whole_chain_that_was_removed_is_found_by_its_head(filled: Audit) -> None:
    await tamper(filled, delete(LEDGER).where(LEDGER.c.chain == CHAIN))
    found = await broken(filled)
    assert (found.chain, found.position) == (CHAIN, 1)


async def test_a_chain_without_a_head_is_found(filled: Audit) -> None:
    await tamper(filled, delete(HEADS).where(HEADS.c.chain == CHAIN))
    found = await broken(filled)
    assert (found.chain, found.position) == (CHAIN, 1)


async def test_rows_behind_the_head_are_found(filled: Audit) -> None:
    fifth = (await ledger(filled))[4]
    await tamper(
        filled, update(HEADS).where(HEADS.c.chain == CHAIN).values(position=5, hash=fifth["hash"])
    )
    assert (await broken(filled)).position == 6


async def test_rows_whose_positions_were_exchanged_are_found(filled: Audit) -> None:
    await tamper(
        filled,
        row(3).values(position=99),
        row(4).values(position=3),
        row(99).values(position=4),
    )
    assert (await broken(filled)).position == 3


async def test_rows_whose_ids_and_so_their_places_in_lists_were_exchanged_are_found(
    filled: Audit,
) -> None:
    third, fourth = (await ids(filled))[2:4]
    await tamper(filled, row(3).values(id=9999), row(4).values(id=third), row(3).values(id=fourth))
    assert (await broken(filled)).position == 4


async def test_a_row_moved_to_another_chain_is_found(filled: Audit) -> None:
    await tamper(filled, row(7).values(chain="vm.events/0", position=4))
    assert not (await verify(filled)).valid


async def test_what_is_appended_meanwhile_does_not_break_a_chain(
    filled: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_head = verification._head  # pyright: ignore[reportPrivateUsage] - to append behind it

    async def head_and_then_more(database: Any, chain: str) -> Any:
        head = await true_head(database, chain)
        await deliver(filled, at(message(), int(chain[-1])))
        return head

    monkeypatch.setattr(verification, "_head", head_and_then_more)
    verdict = await verify(filled)
    assert (verdict.valid, verdict.rows) == (True, 10)
