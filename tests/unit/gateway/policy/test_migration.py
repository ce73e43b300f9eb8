"""VMs of before there were owners get theirs from the operation that made them."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command

from chassis.migrations import config

_VM = """INSERT INTO vms (id, project_id, account, name, folded_name, state, addresses, metadata, tags,
security_groups, operations, version, revision, created_at, updated_at) VALUES (:id, 'demo', 'x', 'x',
'x', 'active', '[]', '{}', '[]', '[]', 2, 0, 1, '2026-01-01', '2026-01-01')"""
_OPERATION = """INSERT INTO operations (id, project_id, account, vm_id, seq, command, actor, request_id,
state, attempts, steps, created_at, deadline_at) VALUES (:id, 'demo', 'x', :vm, :seq, :command, :actor,
'', 'succeeded', 1, '[]', '2026-01-01', '2026-01-01')"""
DONE = [
    ("made", 1, "vm.create.v1", "user:ada"),
    ("made", 2, "vm.stop.v1", "key:ops"),
    ("imported", 1, "vm.import.v1", "key:admin"),
    ("unknown", 1, "vm.stop.v1", "key:ops"),
]


def test_owners_of_what_there_was_are_who_made_or_imported_it(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'before.db'}")
    with engine.begin() as connection:
        command.upgrade(config("gateway", connection), "0006")
        for vm in ("made", "imported", "unknown", "bare"):
            connection.execute(sa.text(_VM), {"id": vm})
        for number, (vm, seq, kind, actor) in enumerate(DONE):
            row = {"id": f"o-{number}", "vm": vm, "seq": seq, "command": kind, "actor": actor}
            connection.execute(sa.text(_OPERATION), row)
        command.upgrade(config("gateway", connection), "head")
        owners = dict(connection.execute(sa.text("SELECT id, owner FROM vms")).tuples().all())
    engine.dispose()
    assert owners == {"made": "user:ada", "imported": "key:admin", "unknown": "", "bare": ""}
