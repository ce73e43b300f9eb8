"""What makes a table append-only in the database itself, whoever asks: triggers that refuse.

On Postgres the service's role has no right to change rows in the first place (`migrations/env.py`);
these hold for the owner, too. What is left is to drop a whole partition, which retention does.
Migrations use these statements as they stand: change them in a new migration alone.
"""

GUARD_FUNCTION = """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$"""


def guard_statements(table: str) -> list[str]:
    """Triggers for Postgres. Those on rows are passed on to every partition by itself."""
    return [
        (
            f"CREATE TRIGGER {table}_keeps_rows BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        ),
        _truncate_guard(table),
    ]


def partition_statements(name: str) -> list[str]:
    """What a partition has of its own: its keys, and the guard that is not passed on."""
    return [
        f"ALTER TABLE {name} ADD PRIMARY KEY (chain, position), ADD UNIQUE (message_id)",
        _truncate_guard(name),
    ]


def _truncate_guard(table: str) -> str:
    return (
        f"CREATE TRIGGER {table}_keeps_all BEFORE TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def sqlite_guard_statements(table: str) -> list[str]:
    """The same for SQLite."""
    return [
        f"CREATE TRIGGER {table}_keeps_rows_{verb.lower()} BEFORE {verb} ON {table}"
        f" BEGIN SELECT RAISE(ABORT, '{table} is append-only: {verb} is refused'); END"
        for verb in ("UPDATE", "DELETE")
    ]


def sqlite_lift_statements(table: str) -> list[str]:
    """Takes SQLite's guards away; whoever does puts them back in the same transaction."""
    return [f"DROP TRIGGER {table}_keeps_rows_{verb}" for verb in ("update", "delete")]
