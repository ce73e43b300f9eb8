"""`python -m bench [ROW …] [--quick]`: measure, print, and write docs/benchmarks."""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from shutil import rmtree

from rich.console import Console

from bench.bench import Bench
from bench.report import show, write
from bench.result import Measured

ROWS = sorted(p.stem for p in (Path(__file__).parent / "rows").glob("*.py") if p.stem != "__init__")


async def measure(
    names: list[str],
    console: Console,
    keep: Callable[[Measured], None],
    *,
    quick: bool,
    minutes: float,
) -> tuple[list[Measured], bool]:
    """The rows that could be measured, each kept as soon as it is, and whether all could."""
    done: list[Measured] = []
    whole = True
    for name in names:
        console.print(f"[bold]{name}[/] …")
        bench = Bench(quick=quick, minutes=minutes)
        try:
            done.append(await import_module(f"bench.rows.{name}").measure(bench))
        except Exception:  # noqa: BLE001 - the other rows are worth measuring all the same
            whole = False
            console.print(traceback.format_exc(), markup=False)
            console.print(f"[red]{name} could not be measured[/]; its logs are in {bench.folder}")
        else:
            rmtree(bench.folder, ignore_errors=True)
            show(done[-1:], console)
            keep(done[-1])
    return done, whole


def main() -> int:
    """Exit status 1 if a row could not be measured; a missed goal is a result, not a failure."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller numbers, to try it")
    parser.add_argument("--minutes", type=float, default=2, help="memory's load")
    parser.add_argument("--no-write", action="store_true", help="leave docs/benchmarks alone")
    given = parser.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    console = Console(width=150)
    rows = given.rows or ROWS

    def keep(row: Measured) -> None:
        if not given.no_write:
            write(row, quick=given.quick)

    measuring = measure(rows, console, keep, quick=given.quick, minutes=given.minutes)
    done, whole = asyncio.run(measuring)
    if len(done) > 1:
        show(done, console)
    return 0 if whole and done else 1


if __name__ == "__main__":
    sys.exit(main())
