"""One module per row of the table; each has `measure(bench: Bench) -> Measured`."""
