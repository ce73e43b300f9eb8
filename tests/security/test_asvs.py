"""What docs/asvs.md names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/asvs.md").read_text()
STATES = {"met", "part", "missing"}


def named() -> list[str]:
    """Everything in backticks that is written as a file."""
    found = set(
        re.findall(r"`([\w./-]+/[\w./-]+|[\w.-]+\.(?:yml|toml|lock)|\.importlinter)`", PAGE)
    )
    return sorted(found)


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_page_names_files() -> None:
    assert len(named()) > 50


@pytest.mark.parametrize("place", named())
def test_a_file_that_the_page_names_exists(place: str) -> None:
    assert (ROOT / place).is_file()


def test_each_requirement_has_a_state_and_what_is_met_a_place() -> None:
    for row in rows():
        if len(row) == 4:
            numbers, _, state, where = row
            assert state in STATES, row
            assert state != "met" or where, numbers


def test_whatever_is_missing_is_in_the_list_at_the_end() -> None:
    listed = PAGE.partition("## Asked by level 2, not there")[2]
    missing = [row[0] for row in rows() if len(row) == 4 and row[2] == "missing"]
    assert missing
    for numbers in missing:
        for number in numbers.split(", "):
            assert number in listed, f"{number} is missing, and not in the list"
