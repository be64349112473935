"""The table of the figures, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.harness import Row


def shown(value: float | None, unit: str) -> str:
    """Write a figure with three digits and its unit."""
    if value is None:
        return ""
    if unit == "s":
        factor, unit = next((f, u) for f, u in ((1e6, "us"), (1e3, "ms"), (1, "s")) if value * f < 1000 or f == 1)
        value *= factor
    digits = 0 if value >= 100 or not unit else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def markdown(rows: Sequence[Row], peers: Sequence[Row] = ()) -> str:
    """Write the table, and beside it what other trackers take for a call."""
    lines = ["| work | raw `sqlite3` | ours | ratio | bound | met? |", "|---|--:|--:|--:|--:|---|"] if rows else []
    for row in rows:
        bound = ""
        if row.bound is not None:
            bound = shown(row.bound, row.unit) if row.absolute else f"{row.bound:.1f}x"
        met = {None: "", True: "yes", False: "**no**"}[row.is_met]
        lines.append(f"{_figures(row)} {bound} | {met} |")
    if peers:
        lines += [""] if rows else []
        lines += ["| tracker | raw `sqlite3` | its call | ratio |", "|---|--:|--:|--:|", *map(_figures, peers)]
    return "\n".join(lines) + "\n"


def _figures(row: Row) -> str:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
    return f"| {row.work} | {shown(row.raw, row.unit)} | {shown(row.ours, row.unit)} | {ratio} |"
