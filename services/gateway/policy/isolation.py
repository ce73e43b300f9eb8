"""Row-level security: Postgres itself keeps the rows of projects apart, beneath the queries.

A session says whose it is (`chassis.database`): some projects' (`hostler.project_id`, a line each), or the
service's own (`hostler.bypass`). One that said neither sees no row. FORCE has it hold for the owner of
the tables, too; superusers and roles with BYPASSRLS are past it, which `Isolation.probe` tells.
"""

import logging

import sqlalchemy as sa
from sqlalchemy import Connection

from chassis.database import Database

LOG = logging.getLogger(__name__)
POLICY = "hostler_project"
NOBODYS = ("orphans",)
"""Tables of which rows without a project are shown to projects."""
_MINE = """project_id = ANY (
    (SELECT string_to_array(current_setting('hostler.project_id', true), E'\\n'))::text[])
  OR (SELECT current_setting('hostler.bypass', true)) = 'on'"""
_OPEN = """SELECT c.relname FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'project_id' AND NOT a.attisdropped
WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind IN ('r', 'p')
AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (
  SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = :policy))
ORDER BY c.relname"""
_BYPASSES = "SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"


def isolate(connection: Connection, schema: str) -> list[str]:
    """Close every table with a `project_id` that is open yet; which these were.

    After each migration, so that a new table cannot be forgotten. Nothing is locked where nothing
    is to be done.
    """
    if connection.dialect.name != "postgresql":
        return []
    given = {"schema": schema, "policy": POLICY}
    open_ = list(connection.execute(sa.text(_OPEN), given).scalars())
    quote = connection.dialect.identifier_preparer.quote_identifier
    for table in open_:
        name = f"{quote(schema)}.{quote(table)}"
        statements = [
            f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
            f"DROP POLICY IF EXISTS {POLICY} ON {name}",
            f"CREATE POLICY {POLICY} ON {name} USING ({_MINE}) WITH CHECK ({_MINE})",
        ]
        if table in NOBODYS:
            statements.append(f"DROP POLICY IF EXISTS {POLICY}_nobodys ON {name}")
            statements.append(
                f"CREATE POLICY {POLICY}_nobodys ON {name} FOR SELECT USING (project_id = '')"
            )
        for statement in statements:
            connection.exec_driver_sql(statement)
    return open_


class Isolation:
    """Whether the database keeps projects apart, as far as its role is concerned."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._told = ""

    async def probe(self) -> str:
        """How projects are kept apart; raises where the role is past row-level security."""
        if not self.database.is_postgres:
            return "by queries alone: SQLite has no row-level security"
        if not self._told:
            async with self.database.reading() as session:
                role, passes = (await session.execute(sa.text(_BYPASSES))).one()
            if passes:
                raise RuntimeError(
                    f"the role {role} is past row-level security: projects are kept apart by "
                    "queries alone; use a role that is no superuser (python -m deploy.roles)"
                )
            self._told = f"by queries and by row-level security, as {role}"
        return self._told

    async def warn(self) -> None:
        """Say it in the log if it does not hold."""
        try:
            LOG.info("projects are kept apart %s", await self.probe())
        except RuntimeError as error:
            LOG.warning("%s", error)
