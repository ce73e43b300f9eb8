"""Writes what follows from the contracts and the routes: `python -m deploy.generate [--check]`.

`--check` writes nothing and exits 1 if a committed file is not what would be written. A message
type whose schema changed is refused: give it a new version, or `--minor` if it only gained an
optional field.
"""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from chassis.settings import Settings
from contracts import asyncapi
from contracts.errors import MEANINGS
from contracts.fingerprints import FILE, fingerprints
from contracts.message import Command
from contracts.topics import TOPICS, VM_COMMANDS, Topic
from contracts.vm.states import VmState
from drivers.openstack.settings import OpenStackSettings
from services.audit.settings import AuditSettings
from services.gateway.app import build
from services.gateway.settings import GatewaySettings
from services.provisioner.settings import ProvisionerSettings
from services.sync.settings import SyncSettings

ROOT = Path(__file__).parent.parent


def openapi() -> str:
    """The gateway's HTTP API."""
    settings = GatewaySettings.model_construct(internal_secret=SecretStr("-" * 32))
    return _json(build(settings).app.openapi())


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


def _kept(topic: Topic) -> str:
    if topic.compacted:
        return "latest per key"
    if topic.retention is None:
        return "for ever"
    hours, days = topic.retention // timedelta(hours=1), topic.retention.days
    return f"{days} days" if hours == days * 24 else f"{hours} h"


def topics() -> str:
    """The table of topics, as Markdown."""
    rows = [
        f"| `{t.name}` | {t.says} | {', '.join(t.producers)} | {', '.join(t.consumers) or 'anyone'} "
        f"| {t.partitions} | {_kept(t)} |"
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


SETTINGS = (
    ("Every service", Settings, Settings),
    ("Gateway", GatewaySettings, Settings),
    ("Provisioner", ProvisionerSettings, Settings),
    ("Sync", SyncSettings, Settings),
    ("Audit", AuditSettings, Settings),
    ("The OpenStack driver (provisioner and sync)", OpenStackSettings, BaseSettings),
)


def configuration() -> str:
    """Every setting of every service, as Markdown."""
    parts = [
        "# Configuration",
        "",
        "Generated from the services' `settings.py` by `make generate`. Everything comes from environment variables;",
        "durations are ISO 8601 (`PT5S`, `P1D`), lists and objects are JSON.",
        "",
    ]
    for title, settings, base in SETTINGS:
        own = {n: f for n, f in settings.model_fields.items() if _differs(n, f, settings, base)}
        prefix = settings.model_config.get("env_prefix", "")
        rows = [_setting(f"{prefix}{name}".upper(), field) for name, field in own.items()]
        parts += [
            f"## {title}",
            "",
            "| variable | default | what it is |",
            "|---|---|---|",
            *rows,
            "",
        ]
    return "\n".join(parts)


def _differs(
    name: str, field: FieldInfo, settings: type[BaseSettings], base: type[BaseSettings]
) -> bool:
    inherited = base.model_fields.get(name) if base is not settings else None
    return inherited is None or inherited.default != field.default


def _setting(variable: str, field: FieldInfo) -> str:
    value = field.get_default()
    if isinstance(value, SecretStr) or value is None or value == "":
        shown = ""
    elif isinstance(value, timedelta):
        shown = f"`{TypeAdapter(timedelta).dump_python(value, mode='json')}`"
    else:
        shown = f"`{json.dumps(value)}`" if isinstance(value, dict) else f"`{value}`"
    return f"| `{variable}` | {shown} | {field.description or ''} |"


FILES: dict[Path, Callable[[], str]] = {
    ROOT / "docs/api/openapi.json": openapi,
    ROOT / "docs/api/asyncapi.json": lambda: _json(asyncapi.document()),
    ROOT / "docs/api/commands.md": commands,
    ROOT / "docs/api/topics.md": topics,
    ROOT / "docs/api/errors.md": errors,
    ROOT / "docs/configuration.md": configuration,
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
        print("or run `make generate MINOR=1` if it only gained an optional field.")
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
