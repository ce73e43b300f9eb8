"""`python -m services.provisioner`: the provisioner as a process."""

from chassis.service import run
from services.provisioner.app import build

service = build()
run(service, service.app(title="Hostler provisioner"))
