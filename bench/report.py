"""The table on the terminal, the JSON and the charts in docs/benchmarks."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path
from subprocess import run
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas
from rich.console import Console
from rich.table import Table

from bench.result import Chart, Measured

FOLDER = Path(__file__).parent.parent / "docs" / "benchmarks"
_COLOURS = ["#1f6f8b", "#d1495b", "#66a182", "#edae49", "#5b5f97"]


def show(rows: Sequence[Measured], console: Console | None = None) -> None:
    """Print the table."""
    table = Table(title="Hostler beside its floors, in one run", show_lines=True)
    for name in ("row", "measured", "goals"):
        table.add_column(name)
    for row in rows:
        figures = "\n".join(f"{f.name}: {f.value:g} {f.unit}" for f in row.figures)
        goals = "\n".join(
            f"{'[green]met[/]' if g.met else '[red]missed[/]'} {g.says}: {g.value:g} "
            f"({'≤' if g.at_most else '≥'} {g.bound:g})"
            for g in row.goals
        )
        table.add_row(row.row, figures, goals + (f"\n[dim]{row.limit}[/]" if row.limit else ""))
    (console or Console(width=150)).print(table)


def write(row: Measured, *, quick: bool, folder: Path = FOLDER) -> None:
    """Write a row to results.json (the others stay as they were), results.md and its charts."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    known: dict[str, Any] = json.loads(file.read_text())["rows"] if file.exists() else {}
    known[row.row] = {
        **asdict(row),
        "goals": [{**asdict(g), "met": g.met} for g in row.goals],
        "charts": [_draw(row, chart, folder) for chart in row.charts],
        "quick": quick,
        "measured_on": _machine(),
    }
    file.write_text(json.dumps({"rows": dict(sorted(known.items()))}, indent=2) + "\n")
    (folder / "results.md").write_text(_markdown(known))


def _machine() -> dict[str, object]:
    commit = run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": cpu_count(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


def _markdown(known: dict[str, Any]) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Each row was measured beside its floor, in turns, in one run; the",
        "ratios hold where the absolute figures do not: the machine is shared.",
        "",
    ]
    for name, row in sorted(known.items()):
        on = row["measured_on"]
        quick = " (quick: smaller numbers)" if row["quick"] else ""
        lines += [f"## {name}{quick}", "", f"Against {row['against']}.", ""]
        lines += ["| figure | value |", "|---|---|"]
        lines += [f"| {f['name']} | {f['value']:g} {f['unit']} |" for f in row["figures"]]
        lines += ["", "| goal | measured | bound | |", "|---|---|---|---|"]
        for g in row["goals"]:
            sign, word = ("≤" if g["at_most"] else "≥"), ("met" if g["met"] else "**missed**")
            lines.append(f"| {g['says']} | {g['value']:g} | {sign} {g['bound']:g} | {word} |")
        lines += ["", row["limit"], ""] if row["limit"] else [""]
        lines += [f"![{chart}]({chart})" for chart in row["charts"]]
        lines += ["", f"Commit {on['commit']}, {on['at']}, {on['cores']} cores.", ""]
    return "\n".join(lines)


def _draw(row: Measured, chart: Chart, folder: Path) -> str:
    """One PNG; its file name."""
    mpl.use("Agg")
    canvas: Any = Canvas(figsize=(8, 4.5), dpi=110, layout="constrained")
    axes = canvas.subplots()  # matplotlib's types are half known: hence Any
    for colour, series in zip(_COLOURS * 3, chart.series, strict=False):
        xs, ys = zip(*series.points, strict=True)
        axes.plot(xs, ys, marker="o", markersize=4, color=colour, label=series.name)
    axes.set(title=chart.title, xlabel=chart.x, ylabel=chart.y)
    if chart.logarithmic:
        axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    name = f"{row.row}-{chart.title}".lower().replace(" ", "-").replace("/", "-") + ".png"
    canvas.savefig(folder / name)
    return name
