"""`python -m deploy.kafka.locks FOLDER --at NAME …`: what a Kafka with its locks on begins with.

In FOLDER everybody has a folder, so that each can be handed their own alone: the broker, who answers
at the names, and the super user a certificate (`hostler-broker.pem`, `hostler-admin.pem`), the others
a password (`password`), and all of them `ca.pem`. Run it as often as you like: what is there stays,
but for certificates that end within 90 days. These are made anew, all of them, and whoever read the
old ones has to be restarted.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.kafka.acls import kept
from deploy.kafka.certificates import Authority, lasts_until
from deploy.kafka.grants import ADMIN, BROKER, principals

MARGIN = timedelta(days=90)
_GROUP_READS = 0o640
_CA = "ca.pem"


def prepare(folder: Path, addresses: Sequence[str], now: datetime) -> bool:
    """Make what is missing; whether certificates were made."""
    ends = lasts_until(_certificate(folder, BROKER))
    stale = ends is None or ends - now < MARGIN
    if stale:
        _certify(folder, addresses)
    authority = (folder / BROKER / _CA).read_bytes()
    for name in (ADMIN, *principals()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / _CA).write_bytes(authority)
    for name in principals():
        kept(folder, name)
    return stale


def _certify(folder: Path, addresses: Sequence[str]) -> None:
    """The broker's comes last: killed before, all are made again. Nobody keeps the authority's key."""
    authority = Authority(folder / BROKER)
    authority.issue(ADMIN, into=folder / ADMIN)
    made = authority.issue(BROKER, *addresses, into=folder / BROKER)
    # Kafka's own image runs it as somebody else, who is in the group.
    made.chmod(_GROUP_READS)


def _certificate(folder: Path, name: str) -> Path:
    return folder / name / f"{name}.pem"


def main() -> int:
    """0 when all is there; 1, with the reason on stderr, if it cannot be written."""
    parser = argparse.ArgumentParser(prog="locks", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at", action="append", required=True, help="where the broker answers")
    given = parser.parse_args()
    try:
        made = prepare(given.folder, given.at, datetime.now(UTC))
    except OSError as error:
        print(f"the locks could not be made: {error}", file=sys.stderr)
        return 1
    print("certificates were made" if made else "everything was there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
