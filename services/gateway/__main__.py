"""`python -m services.gateway`: serve until SIGTERM."""

from fastapi import FastAPI

from chassis.service import Service, main
from services.gateway.app import build


def built() -> tuple[Service, FastAPI]:
    """The gateway as the environment says."""
    gateway = build()
    return gateway.service, gateway.app


if __name__ == "__main__":
    main(built)
