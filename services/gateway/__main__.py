"""`python -m services.gateway`: serve until SIGTERM."""

from chassis.service import run
from services.gateway.app import build

if __name__ == "__main__":
    gateway = build()
    run(gateway.service, gateway.app)
