"""How a service runs: settings, database, outbox, inbox, leases, Kafka, telemetry; the same for all."""
