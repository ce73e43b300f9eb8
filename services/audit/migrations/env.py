from chassis.migrations import run

run(append_only=("ledger", "checkpoints"))
