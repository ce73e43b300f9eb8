"""`python -m services.provisioner.rewrap`: what open operations hold sealed, sealed to the newest key.

While services run. Once it has said 0 and Kafka has forgotten what was sealed to an old key (the
retention of `vm.commands`), that key may go.
"""

import asyncio
import sys
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database, changed
from chassis.sealing import NoKeyError, PrivateKeys
from chassis.settings import complaints
from contracts.vm.commands import Create
from contracts.vm.fields import Sealed
from services.provisioner.opening import private_keys
from services.provisioner.settings import ProvisionerSettings
from services.provisioner.tables import Operation

AT_ONCE = 100


async def rewrap(database: Database, keys: PrivateKeys) -> int:
    """Seal anew what is open and sealed to another key than the first; how many that were."""
    seq = done = 0
    while True:
        async with database.session() as session:
            rows = await _page(session, seq)
            for row in rows:
                done += await _rewrap(session, keys, row)
        if not rows:
            return done
        seq = rows[-1].seq


async def _page(session: AsyncSession, seq: int) -> list[Operation]:
    creates = Operation.command == Create.wire_name()
    query = select(Operation).where(Operation.ended_at.is_(None), creates, Operation.seq > seq)
    ordered = query.order_by(Operation.seq).limit(AT_ONCE).with_for_update()
    return list((await session.execute(ordered)).scalars())


async def _rewrap(session: AsyncSession, keys: PrivateKeys, row: Operation) -> int:
    held: dict[str, Any] | None = row.data.get("sealed_user_data")
    newest = keys.public[0]
    if held is None or held["box"].startswith(f"{newest.id}."):
        return 0
    bound_to = Sealed.binding(row.vm_id, row.id)
    box = newest.seal(keys.open(held["box"], bound_to), bound_to)
    data = {**row.data, "sealed_user_data": {**held, "box": box}}
    mine = (Operation.id == row.id) & Operation.ended_at.is_(None)
    return await changed(session, update(Operation).where(mine).values(data=data))


async def _main(settings: ProvisionerSettings) -> None:
    database = Database(settings.database_url, "provisioner", pool=1)
    try:
        count = await rewrap(database, private_keys(settings))
    finally:
        await database.close()
    sys.stdout.write(f"{count} sealed anew\n")


def main() -> int:
    """0; 1 if a key is missing; 2 if the settings are wrong."""
    try:
        asyncio.run(_main(ProvisionerSettings()))
    except NoKeyError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (ValueError, OSError) as error:
        sys.stderr.write("\n".join(complaints(error)) + "\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
