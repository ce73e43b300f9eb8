"""Trust between services: what was refused, and why."""
