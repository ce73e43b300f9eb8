"""No text that a caller sends keeps a pattern busy: each is tried in a process of its own, by its clock.

Patterns come from the source (any call of `re`), from the models' schemas and from OpenAPI. Texts are
pumped from what stands in the pattern itself: its characters again and again, and one that ends it.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.gateway.context import Gateway
from tests.security.test_bodies import known_patterns, patterns

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("contracts", "chassis", "services", "deploy/kafka")
CALLS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
SECONDS = 4
LENGTH = 16_000
"""As long as a header may be; bodies are longer, but their strings have bounds of their own."""

TRIAL = f"""
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
pattern = json.load(sys.stdin)
compiled = re.compile(pattern)
parts = sorted(set(re.findall(r"[A-Za-z0-9_.:/@ -]", pattern)))[:12] + ["a", "0", " ", "é", "ab", "a-", "a."]
for part in parts:
    pumped = part * ({LENGTH} // len(part))
    for text in (pumped, pumped + "\\x00", pumped + "\\n!", "a" + pumped + "~"):
        compiled.match(text)
        compiled.fullmatch(text)
"""


def written() -> set[str]:
    """Every pattern that stands in the source as it is."""
    found: set[str] = set()
    for file in [p for room in ROOMS for p in (ROOT / room).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and ast.unparse(node.func.value) == "re"
                and node.func.attr in CALLS
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                raw = node.args[0].value
                found.add(raw.decode("latin-1") if isinstance(raw, bytes) else str(raw))
    return found


def busy(pattern: str) -> str:
    """How the trial of a pattern ended; empty: in time."""
    done = subprocess.run(  # noqa: S603 - a pattern of our own
        [sys.executable, "-I", "-S", "-c", TRIAL],
        input=json.dumps(pattern),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return "" if done.returncode == 0 else f"{done.returncode}: {done.stderr[-300:]}"


@pytest.mark.parametrize("pattern", sorted({*written(), *known_patterns()}))
def test_a_pattern_of_the_source_or_of_a_message_is_done_in_time(pattern: str) -> None:
    assert busy(pattern) == ""


async def test_a_pattern_of_the_api_is_done_in_time(gateway: Gateway) -> None:
    found = set(patterns(gateway.app.openapi()))
    assert found
    assert {pattern: how for pattern in found if (how := busy(pattern))} == {}


def test_a_pattern_that_never_ends_is_found() -> None:
    assert busy(r"^(a+)+$").startswith("-")
