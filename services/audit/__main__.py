"""`python -m services.audit`: serve until SIGTERM."""

from fastapi import FastAPI

from chassis.service import Service, main
from services.audit.app import build


def built() -> tuple[Service, FastAPI]:
    """Audit as the environment says."""
    audit = build()
    return audit.service, audit.app


if __name__ == "__main__":
    main(built)
