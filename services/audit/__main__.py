"""`python -m services.audit`: serve until SIGTERM."""

import gc

from fastapi import FastAPI

from chassis.service import Service, main
from services.audit.app import build

OBJECTS_PER_COLLECTION = 100_000
"""More than a batch makes, a few dozen for each record: collected amid one, nearly all of them are
found in use, at a quarter of the time that ingest takes.
"""


def built() -> tuple[Service, FastAPI]:
    """Audit as the environment says."""
    audit = build()
    return audit.service, audit.app


if __name__ == "__main__":
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    main(built)
