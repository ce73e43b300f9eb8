"""Writes what follows from the contracts and the routes: `python -m deploy.generate [--check]`.

`--check` writes nothing and exits 1 if a committed file is not what would be written. A message
type whose schema changed is refused: give it a new version, or `--minor` if it only gained an
optional field.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from contracts import asyncapi
from contracts.errors import MEANINGS
from contracts.fingerprints import FILE, fingerprints
from contracts.message import Command
from contracts.topics import TOPICS, VM_COMMANDS
from contracts.vm.states import VmState
from services.gateway.app import build

ROOT = Path(__file__).parent.parent


def openapi() -> str:
    """The gateway's HTTP API."""
    return _json(build().app.openapi())


def commands() -> str:
    """The table of commands, as Markdown."""
    rows = [_command(body) for body in VM_COMMANDS.carries if issubclass(body, Command)]
    return "\n".join(
        [
            "# Commands",
            "",
            "Generated from `contracts/vm/commands.py` by `make generate`.",
            "",
            "| command | what it does | from | shown as | to | role | deadline | event |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _command(body: type[Command]) -> str:
    said = (body.__doc__ or "").partition("\n")[0]
    start = ", ".join(sorted(body.change.start))
    if body.change.start >= frozenset(VmState) - {VmState.DELETED}:
        start = "any but deleted"
    minutes = int(body.deadline.total_seconds() // 60)
    emits = f"`{body.emits.wire_name()}`" if body.emits else "none"
    end = body.change.end or "as it was"
    return (
        f"| `{body.wire_name()}` | {said} | {start} | {body.change.via} | {end} "
        f"| {body.role} | {minutes} min | {emits} |"
    )


def topics() -> str:
    """The table of topics, as Markdown."""
    rows = [
        f"| `{t.name}` | {t.says} | {', '.join(t.producers)} | {', '.join(t.consumers) or 'anyone'} "
        f"| {t.partitions} | {'latest per key' if t.compacted else f'{t.retention.days} days' if t.retention else 'for ever'} |"
        for t in TOPICS
    ]
    head = ["# Topics", "", "Generated from `contracts/topics.py` by `make generate`.", ""]
    columns = [
        "| topic | what it says | said by | heard by | partitions | kept |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *columns, *rows, ""])


def errors() -> str:
    """The table of error codes, as Markdown."""
    rows = [
        f"| `{code}` | {m.status} | {'yes' if m.retryable else 'no'} | {m.sentence} |"
        for code, m in MEANINGS.items()
    ]
    head = ["# Errors", "", "Generated from `contracts/errors.py` by `make generate`.", ""]
    columns = [
        "| code | HTTP status | may help to try again | what it means |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *columns, *rows, ""])


FILES: dict[Path, Callable[[], str]] = {
    ROOT / "docs/api/openapi.json": openapi,
    ROOT / "docs/api/asyncapi.json": lambda: _json(asyncapi.document()),
    ROOT / "docs/api/commands.md": commands,
    ROOT / "docs/api/topics.md": topics,
    ROOT / "docs/api/errors.md": errors,
    FILE: lambda: _json(fingerprints()),
}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def changed_types() -> list[str]:
    """The message types whose schema is not what was committed under that name."""
    committed: dict[str, str] = json.loads(FILE.read_text()) if FILE.exists() else {}
    now = fingerprints()
    return [name for name, mark in committed.items() if now.get(name) != mark]


def stale() -> list[Path]:
    """The committed files that are not what would be written now."""
    return [path for path, make in FILES.items() if not path.exists() or path.read_text() != make()]


def main() -> int:
    """Write or check; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if stale")
    parser.add_argument("--minor", action="store_true", help="accept types that gained a field")
    asked = parser.parse_args()
    if (changed := changed_types()) and not asked.minor:
        print(
            f"schema changed: {', '.join(changed)}. Give it a new version (….v2) and an upcaster,"
        )
        print("or run with --minor if it only gained an optional field.")
        return 1
    wrong = stale()
    if asked.check:
        for path in wrong:
            print(f"{path.relative_to(ROOT)} is stale: run `make generate`")
        return 1 if wrong else 0
    for path in wrong:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES[path]())
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
