"""How much a caller may ask at a time: rates that all gateways share, and answers held open."""
