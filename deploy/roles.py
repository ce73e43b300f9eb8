"""Makes the roles that services use PostgreSQL with: `python -m deploy.roles`, as often as one likes.

Each service has a schema of its own, a role `hostler_SERVICE` that reads and writes its rows, and
`hostler_SERVICE_owner`, which owns the schema, migrates it and may make more schemas (a rebuild has
one for a while). Neither sees another's. What exists already in a schema becomes its owner's.

HOSTLER_DATABASE_ADMIN_URL names the database as somebody who may make roles; HOSTLER_ROLE_PASSWORD
and HOSTLER_OWNER_PASSWORD are the passwords of the two kinds.
"""

import os
import sys
import time
from collections.abc import Callable

import psycopg
from psycopg import sql

SERVICES = ("gateway", "provisioner", "sync", "audit")
WAIT_SECONDS = 60.0
_OTHERS = """SELECT c.relname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'p') AND r.rolname <> %s"""


def role_of(service: str) -> str:
    """The role that a service uses its tables with."""
    return f"hostler_{service}"


def owner_of(service: str) -> str:
    """The role that owns a service's tables."""
    return f"{role_of(service)}_owner"


def ensure(dsn: str, password: Callable[[str], str]) -> None:
    """Make or mend roles and schemas in the database `dsn`; `password` is asked by the role's name."""
    with psycopg.connect(dsn) as connection:
        database = sql.Identifier(connection.info.dbname)
        _run(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
        _run(connection, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        for service in SERVICES:
            for role in (role_of(service), owner_of(service)):
                _ensure_role(connection, role, password(role))
                _run(connection, "GRANT CONNECT ON DATABASE {} TO {}", database, _name(role))
            owner = _name(owner_of(service))
            _run(connection, "GRANT CREATE ON DATABASE {} TO {}", database, owner)
            _ensure_schema(connection, service)


def _ensure_role(connection: psycopg.Connection, role: str, password: str) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    verb = "ALTER" if known else "CREATE"
    rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
    _run(connection, f"{verb} ROLE {{}} {rights} PASSWORD {{}}", _name(role), sql.Literal(password))


def _ensure_schema(connection: psycopg.Connection, service: str) -> None:
    owner = _name(owner_of(service))
    _run(connection, "CREATE SCHEMA IF NOT EXISTS {}", _name(service))
    _run(connection, "ALTER SCHEMA {} OWNER TO {}", _name(service), owner)
    for (table,) in connection.execute(_OTHERS, (service, owner_of(service))).fetchall():
        _run(connection, "ALTER TABLE {}.{} OWNER TO {}", _name(service), _name(table), owner)


def _run(connection: psycopg.Connection, statement: str, *parts: sql.Composable) -> None:
    connection.execute(sql.SQL(statement).format(*parts))  # pyright: ignore[reportArgumentType] - no caller's text is in it


def _name(text: str) -> sql.Identifier:
    return sql.Identifier(text)


def main() -> int:
    """0 once all is there; 1 if the database does not answer for a minute."""
    wanted = ("HOSTLER_DATABASE_ADMIN_URL", "HOSTLER_ROLE_PASSWORD", "HOSTLER_OWNER_PASSWORD")
    if missing := [name for name in wanted if not os.environ.get(name)]:
        print(*[f"{name}: is not set" for name in missing], sep="\n", file=sys.stderr)
        return 2
    url, mine, owners = (os.environ[name] for name in wanted)
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            ensure(
                url.replace("postgresql+psycopg://", "postgresql://", 1),
                lambda role: owners if role.endswith("_owner") else mine,
            )
        except psycopg.OperationalError as error:
            if time.monotonic() > until:
                print(error, file=sys.stderr)
                return 1
            time.sleep(1)
        else:
            print("the roles are as they should be")
            return 0


if __name__ == "__main__":
    sys.exit(main())
