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


ABOVE, _, BELOW = PAGE.partition("## Asked by level 2, not there")


def rows(part: str) -> list[list[str]]:
    lines = [line for line in part.splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def numbers(text: str) -> set[str]:
    """Requirements as they are written: `9.1.1 to 9.1.3, 9.2.4`."""
    found: set[str] = set()
    for each in text.split(", "):
        first, _, last = each.partition(" to ")
        chapter, _, begin = first.rpartition(".")
        end = (last or first).rpartition(".")[2]
        found |= {f"{chapter}.{n}" for n in range(int(begin), int(end) + 1)}
    return found


def test_the_page_names_files() -> None:
    assert len(named()) > 50


@pytest.mark.parametrize("place", named())
def test_a_file_that_the_page_names_exists(place: str) -> None:
    assert (ROOT / place).is_file()


def test_each_requirement_has_a_state_and_what_is_met_a_place() -> None:
    for row in rows(ABOVE):
        asked, _, state, where = row
        assert state in STATES, row
        assert state != "met" or where, asked


def test_the_list_at_the_end_is_what_is_not_all_there_and_says_where_it_would_go() -> None:
    open_ones = [numbers(row[0]) for row in rows(ABOVE) if row[2] != "met"]
    listed = [numbers(row[0]) for row in rows(BELOW)]
    assert set[str]().union(*open_ones) == set[str]().union(*listed)
    for row in rows(BELOW):
        _, what, where, instead = row
        assert all((what, where, instead)), row
