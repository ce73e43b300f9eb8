"""Hostler on one machine without Docker: broker, database, simulated cloud, services."""
