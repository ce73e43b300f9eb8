from chassis.migrations import run
from services.gateway.policy.isolation import isolate

run(after=isolate)
