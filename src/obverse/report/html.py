"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import functools
import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from obverse.figures import common_scale
from obverse.report.base import Report, Row, aside, number
from obverse.report.cards import Card, card, columns
from obverse.report.papers import meaning, methods

MOST_BYTES = 10_000_000
"""A report that would be larger has its pictures stored with some loss."""


@functools.cache
def environment() -> Environment:
    """Return the templates that report and app share."""
    return Environment(loader=PackageLoader("obverse.report"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)  # fmt: skip


def render(report: Report) -> str:
    """Return the HTML of a report: headline, examples, all figures, what was skipped, sources, settings."""
    page = _render(report, lossless=True)
    return page if len(page) <= MOST_BYTES else _render(report, lossless=False)


def _render(report: Report, *, lossless: bool) -> str:
    examples = report.examples
    explanation = None if examples is None else examples.explanation
    scale = 1.0 if explanation is None else common_scale(explanation)
    cards = _cards(report, scale, lossless)
    return environment().get_template("report.html.j2").render(
        report=report,
        examples=cards,
        columns=columns(cards),
        complete=examples is not None and examples.complete,
        notes=report.settings.get("data", {}).get("notes", []),
        has_change=explanation is not None and explanation.difference is not None,
        scale=number(scale),
        kind="" if examples is None or examples.walk is None else examples.walk.kind,
        lossy=not lossless,
        methods=methods(str(report.settings.get("explainer", {}).get("method", "")), [row.metric for row in report.rows]),
        settings=_flat(report.settings),
        number=number,
        **parts_of(report),
    )  # fmt: skip


def parts_of(report: Report) -> dict[str, Any]:
    """Return what the shared templates need to show a report's figures and curves."""
    return {
        "headline": report.headline(),
        "questions": _by_question(report.rows),
        "plots": [plot(name, x, y) | axes(name) for name, (x, y) in report.curves.items()],
        "training": plot("training", *map(list, zip(*report.training))) | axes("training")
        if len(report.training) > 1
        else None,
        "meaning": meaning,
        "aside": aside,
        "place": _place,
    }


def _by_question(rows: tuple[Row, ...]) -> list[tuple[str, list[tuple[str, list[Row]]]]]:
    """Return the rows under their questions and, within, under their labels."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        found.setdefault(row.question, {}).setdefault(row.label, []).append(row)
    return [(question, list(labels.items())) for question, labels in found.items()]


def _place(row: Row) -> dict[str, float] | None:
    """Return where value and interval lie on a scale from 0 to 100 %, for figures between 0 and 1."""
    if row.low is None or row.high is None or not 0 <= row.low <= row.high <= 1 or row.unit:
        return None
    return {"left": 100 * row.low, "width": max(100 * (row.high - row.low), 0.5), "value": 100 * row.value}


def _cards(report: Report, scale: float, lossless: bool) -> list[Card]:
    examples = report.examples
    if examples is None or examples.explanation is None or examples.sample is None:
        return []
    names = examples.sample.path or [f"image {index}" for index in examples.index.tolist()]
    return [card(examples.explanation, row, name=names[row], scale=scale, walk=examples.walk, sample=examples.sample,
                 exact=False, lossless=lossless) for row in range(len(examples))]  # fmt: skip


def plot(name: str, x: list[float], y: list[float]) -> dict[str, Any]:
    """Return a curve as the points of an SVG line in a box of 300 x 120, with its axes' ends."""
    low, high = min(y), max(y)
    span, width = (high - low) or 1.0, (x[-1] - x[0]) or 1.0
    points = " ".join(f"{300 * (a - x[0]) / width:.1f},{120 - 120 * (b - low) / span:.1f}" for a, b in zip(x, y))
    return {"name": name, "points": points, "left": f"{x[0]:.4g}", "right": f"{x[-1]:.4g}", "low": number(low),
            "high": number(high)}  # fmt: skip


AXES = {
    "AUPC": ("share of the pixels that were exchanged", "posterior"),
    "knob": ("posterior that was asked for", "posterior that was obtained"),
    "training": ("step", "score on validation, lower is better"),
}
"""What the axes of a curve are, by how its name begins."""


def axes(name: str) -> dict[str, str]:
    """Return what a curve's axes are; "" where that is not known."""
    known = next((found for start, found in AXES.items() if name.startswith(start)), ("", ""))
    return dict(zip(("x", "y"), known, strict=True))


def _flat(settings: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as names and texts."""
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}: ")
        elif value is not None and value != []:
            rows.append((f"{prefix}{name}", _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return "; ".join(value)
    return value if isinstance(value, str) else json.dumps(value)
