"""`python -m deploy.kafka.acls [--dry-run] [--passwords FOLDER] [--follower NAME …]`: who may do what.

Brings the brokers' ACLs in line with `contracts/topics.py`, as often as one likes: what is missing
is granted, what Hostler's principals have beyond it is taken away, others' are left alone. It
connects by HOSTLER_KAFKA_* as a user who may alter the cluster.
"""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from chassis.settings import Settings
from deploy.kafka.admin import Admin, AdminError
from deploy.kafka.grants import grants, principals, require_follower, table


def apply(settings: Settings, folder: Path | None = None, followers: Sequence[str] = ()) -> str:
    """Make users (with `folder`) and grants; what was done, in a sentence. AdminError."""
    admin = Admin(settings)
    names = principals(followers)
    if folder is not None:
        admin.set_passwords({name: kept(folder, name) for name in names})
    wanted, present = set(grants(followers)), admin.grants_of(names)
    # New ones first: nobody is without what they keep.
    admin.allow(sorted(wanted - present))
    admin.withdraw(sorted(present - wanted))
    return f"{len(wanted)} grants: {len(wanted - present)} new, {len(present - wanted)} taken away"


def kept(folder: Path, user: str) -> str:
    """The password in the user's file, 256 random bits, made if there is none.

    Where the user has a folder there, as one that is a volume, it is the file `password` in it.
    """
    file = folder / user / "password" if (folder / user).is_dir() else folder / user
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32))
    return file.read_text().strip()


def main() -> int:
    """0 when all is as it should be; 1, with the reason on stderr, if Kafka refuses."""
    parser = argparse.ArgumentParser(prog="acls", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print the grants, change nothing")
    parser.add_argument("--passwords", type=Path, help="a file per user; made where there is none")
    parser.add_argument(
        "--follower",
        action="append",
        default=[],
        type=require_follower,
        help="another system's user, who may read VM events in groups named after it",
    )
    given = parser.parse_args()
    if given.dry_run:
        print(table(grants(given.follower)))
        return 0
    try:
        print(apply(Settings(), given.passwords, given.follower))
    except (AdminError, OSError) as error:
        print(f"the ACLs could not be applied: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
