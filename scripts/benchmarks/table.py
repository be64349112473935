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


def markdown(rows: Sequence[Row]) -> str:
    """Write the table."""
    lines = ["| work | raw | ours | ratio | bound | met? |", "|---|--:|--:|--:|--:|---|"]
    for row in rows:
        bound = ""
        if row.bound is not None:
            bound = shown(row.bound, row.unit) if row.absolute else f"{row.bound:.1f}x"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
        met = {None: "", True: "yes", False: "**no**"}[row.is_met]
        raw, ours = shown(row.raw, row.unit), shown(row.ours, row.unit)
        lines.append(f"| {row.work} | {raw} | {ours} | {ratio} | {bound} | {met} |")
    return "\n".join(lines) + "\n"
