"""The benchmarks: what Hostler costs, each time beside a floor that is measured in the same run.

A row of the table is a module in `bench/rows` with a function `measure(bench) -> Measured`. It
starts what it needs (`bench.stack`, `bench.bare`), measures the floor and Hostler in turns (the
machine is shared: what slows one slows the other), and says which goals that meets. `make bench`
runs all rows, `make bench ROWS="accept reads"` some, `QUICK=1` with smaller numbers.
"""
