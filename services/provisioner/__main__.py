"""`python -m services.provisioner`: serve until SIGTERM."""

from fastapi import FastAPI

from chassis.service import Service, main
from services.provisioner.app import build


def built() -> tuple[Service, FastAPI]:
    """The provisioner as the environment says."""
    service = build()
    return service, service.app(openapi_url=None)


if __name__ == "__main__":
    main(built)
