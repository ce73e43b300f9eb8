"""Processor time: what a rate or a wait is made of on a machine whose cores are all that it has."""

import os


def each(before: dict[str, float], after: dict[str, float], count: int) -> dict[str, float]:
    """Milliseconds of processor time per thing done, by process; `client.cpu_seconds` before and after."""
    return {name: (after[name] - before[name]) * 1000 / max(1, count) for name in before}


def sentence(what: str, milliseconds: dict[str, float]) -> str:
    """What it takes, and how many a second that leaves room for."""
    parts = sorted(((ms, name) for name, ms in milliseconds.items() if ms >= _LEAST), reverse=True)
    whole, cores = sum(milliseconds.values()), os.cpu_count() or 1
    listed = ", ".join(f"{name} {ms:.1f}" for ms, name in parts)
    return (
        f"Processor time: {what} takes {whole:.1f} ms of it ({listed}), so that {cores} cores with "
        f"nothing else to do carry {cores * 1000 / whole:.0f} a second at most."
    )


_LEAST = 0.05
