"""A short run of `make chaos`, by a seed of its own each time; HOSTLER_CHAOS_SEED repeats one."""

import os
import random
from pathlib import Path

import pytest

from tests.faults.chaos.report import table
from tests.faults.chaos.run import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SECONDS = 60


@pytest.fixture(autouse=True)
def calm() -> None:
    """It has a stack of its own, not the one that the other tests share."""


@pytest.mark.usefixtures("lasting_broker")
def test_whatever_goes_wrong_for_a_minute_the_books_balance_afterwards(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    seed = int(os.environ.get("HOSTLER_CHAOS_SEED") or random.randrange(10**6))
    outcome = run(seed, SECONDS, tmp_path)
    text = table(outcome)
    print(text)  # noqa: T201 - pytest shows it where the test fails
    assert outcome.ok, f"make chaos SEED={seed} MINUTES=1 repeats it\n{text}"
