"""A comparison as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from obverse.report.base import Row, number
from obverse.report.html import environment
from obverse.report.papers import meaning

if TYPE_CHECKING:
    from obverse.compare import Cell, Comparison, Curve, Line

COLOURS = ("#2166ac", "#e66100", "#1a936f", "#8e44ad", "#b8860b", "#c2185b", "#5b626d", "#00838f")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
"""Together they tell 32 curves apart, also without colours."""


def render(comparison: Comparison) -> str:
    """Return the HTML of a comparison: every figure with its difference, curves over each other, what stands beside."""
    keys = [{"name": name, "colour": COLOURS[k % len(COLOURS)], "dash": DASHES[k // len(COLOURS) % len(DASHES)]}
            for k, name in enumerate(comparison.names)]  # fmt: skip
    return environment().get_template("comparison.html.j2").render(
        comparison=comparison,
        questions=_by_question(comparison.lines),
        plots=[_plot(title, curves, keys) for title, curves in comparison.curves.items()],
        matrices=[_matrix(label, rows) for label, rows in comparison.beside.items()],
        words=_words,
        meaning=_meaning,
    )  # fmt: skip


def _by_question(lines: tuple[Line, ...]) -> list[tuple[str, list[Line]]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.question, []).append(line)
    return list(found.items())


def _meaning(line: Line) -> str:
    """Return the hover text of a line."""
    return meaning(Row(metric=line.metric, label=line.label, question=line.question, direction=line.direction, value=0.0,
                       n=0, better=line.better))  # type: ignore[arg-type]  # fmt: skip


def _words(cell: Cell, unit: str) -> dict[str, str]:
    """Return a cell as texts: value, interval, difference from the baseline, what the common answers give."""

    def between(low: float | None, high: float | None) -> str:
        return "" if low is None or high is None else f"{number(low)} to {number(high)}"

    change = ""
    if cell.difference is not None:
        change = f"{'+' if cell.difference > 0 else ''}{number(cell.difference)}"
        interval = between(cell.difference_low, cell.difference_high)
        change += f" ({interval})" if interval else ""
    return {
        "value": f"{number(cell.value)} {unit}".strip(),
        "interval": between(cell.low, cell.high),
        "change": change,
        "pairs": f"n {cell.n}" + (f", {cell.pairs} pairs" if cell.pairs else ""),
        "common": "" if cell.common is None else f"common {number(cell.common)}, n {cell.common_n}",
    }


def _plot(title: str, curves: Mapping[str, Curve], keys: list[dict[str, str]]) -> dict[str, Any]:
    """Return curves as lines in one box of 300 x 120, with its axes' ends."""
    xs, ys = ([value for curve in curves.values() for value in curve[k]] for k in (0, 1))
    low, left = min(ys), min(xs)
    high, width = (max(ys) - low) or 1.0, (max(xs) - left) or 1.0
    lines = []
    for key in keys:
        if key["name"] in curves:
            x, y = curves[key["name"]]
            points = " ".join(
                f"{300 * (a - left) / width:.1f},{120 - 120 * (b - low) / high:.1f}" for a, b in zip(x, y)
            )
            lines.append({**key, "points": points})
    return {"title": title, "lines": lines, "left": number(left), "right": number(max(xs)), "low": number(low),
            "high": number(max(ys))}  # fmt: skip


def _matrix(label: str, rows: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return what stands beside a figure as a table: a line a report, a column a name."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [(name, [number(row[column]) if column in row else "" for column in columns]) for name, row in rows.items()]
    return {"label": label, "columns": columns, "lines": lines}
