"""Rules of the house that hurt when broken, each with what to do about it."""

import ast
import re
from pathlib import Path

import pytest

ROOMS = ("contracts", "chassis", "drivers", "services", "simulator", "deploy")
MODULES = sorted(
    p for room in ROOMS for p in Path(room).rglob("*.py") if "migrations" not in p.parts
)
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def _named(path: Path) -> str:
    return str(path)


@pytest.mark.parametrize("path", MODULES, ids=_named)
def test_every_module_opens_with_a_sentence_that_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path}: say in one sentence what it is"


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [str(path) for path in MODULES if path.stem in VAGUE]
    assert vague == [], "name it after what is in it"


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[0] == "services"], ids=_named)
def test_only_the_database_commits(path: Path) -> None:
    commits = re.findall(r"\.commit\(\)|\.rollback\(\)", path.read_text())
    assert commits == [], f"{path}: write in `async with database.session()`, which commits"


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[0] == "services"], ids=_named)
def test_nobody_publishes_but_the_relay(path: Path) -> None:
    assert ".publish(" not in path.read_text(), f"{path}: say it with chassis.outbox.say"


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[0] == "services"], ids=_named)
def test_time_comes_through_the_clock(path: Path) -> None:
    reads = re.findall(r"datetime\.now\(|utcnow\(|time\.time\(", path.read_text())
    assert reads == [], f"{path}: use the clock that was passed in, so that tests can turn it"


@pytest.mark.parametrize("service", ["gateway", "provisioner", "sync", "audit"])
def test_every_service_has_the_same_rooms(service: str) -> None:
    files = {path.name for path in Path("services", service).iterdir()}
    assert {"__init__.py", "__main__.py", "app.py", "settings.py", "tables.py"} <= files
    assert {"handlers.py", "migrations"} <= files
