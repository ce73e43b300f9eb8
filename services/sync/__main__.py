"""`python -m services.sync`: sync as a process, told by HOSTLER_* variables."""

from chassis.service import run
from services.sync.app import build

if __name__ == "__main__":
    service = build()
    run(service, service.app(title="Hostler sync"))
