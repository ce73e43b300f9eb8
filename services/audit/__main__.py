"""`python -m services.audit`: serve until SIGTERM."""

from chassis.service import run
from services.audit.app import build

if __name__ == "__main__":
    audit = build()
    run(audit.service, audit.app)
