"""What a run came to, as a table."""

from collections import Counter
from collections.abc import Iterator, Mapping

from tests.faults.chaos.plan import Kind
from tests.faults.chaos.run import Outcome
from tests.faults.chaos.verdict import MOST_SHOWN


def table(outcome: Outcome) -> str:
    """Counts, recoveries, and each check with what differs."""
    return "\n".join(_lines(outcome))


def _lines(outcome: Outcome) -> Iterator[str]:
    book, seen, counts = outcome.book, outcome.seen, outcome.journal.counts
    accepted = Counter(asked.command for asked in book.asked if asked.is_accepted)
    yield from _part("commands accepted", accepted)
    refused = Counter(f"{a.command} {a.status}" for a in book.asked if a.status and not a.operation)
    yield from _part("commands refused", refused)
    unknown = Counter(asked.command for asked in book.asked if asked.is_unknown)
    yield from _part("commands whose caller died before the answer", unknown)
    ends = Counter(end for of_one in seen.ends.values() for end in of_one)
    yield from _part("outcomes in audit", ends)
    failed = [o["error"] for o in seen.operations.values() if o["state"] == "failed"]
    why = Counter(str(error["code"]) for error in failed)
    yield from _part("why operations failed", why)
    kinds = {str(kind) for kind in Kind}
    yield from _part("mishaps", {k: n for k, n in counts.items() if k in kinds})
    yield from _part("and", {k: n for k, n in counts.items() if k not in kinds})
    yield from _part("on Kafka", {t: len(records) for t, records in seen.topics.items()})
    doubles = {t: len(records) - len(seen.once(t)) for t, records in seen.topics.items()}
    yield from _part("delivered more than once", {t: n for t, n in doubles.items() if n})
    yield from _part("heard", {f.name: len(f.heard) for f in seen.followers})
    yield "recovery, seconds from the start to readiness: median, longest"
    for name, times in sorted(outcome.journal.recoveries.items()):
        middle = sorted(times)[len(times) // 2]
        yield f"  {name:<44} {middle:8.1f} {max(times):8.1f}   ({len(times)})"
    yield f"  {'all operations ended after the faults':<44} {outcome.settled_after:8.1f}"
    yield "checks"
    for check, differs in outcome.differs.items():
        yield f"  {'FAILED' if differs else 'ok':<6} {check}"
        yield from (f"         {each}" for each in differs[:MOST_SHOWN])
        if len(differs) > MOST_SHOWN:
            yield f"         and {len(differs) - MOST_SHOWN} more"
    yield f"seed {outcome.seed}: {'OK' if outcome.ok else 'FAILED'}"


def _part(title: str, counts: Mapping[str, int]) -> Iterator[str]:
    yield f"{title}: {sum(counts.values())}"
    for name, count in sorted(counts.items(), key=lambda pair: -pair[1]):
        yield f"  {name:<44} {count:8}"
