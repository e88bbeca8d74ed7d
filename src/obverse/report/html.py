"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from obverse.data.base import Sample
from obverse.explanation import Explanation
from obverse.report.base import Report, Row, aside, number
from obverse.report.figures import Pixels, common_scale, outline, panels, pixels, png

MOST_BARS = 4
"""Classes whose posteriors are drawn for one answer: source, target, and the most probable others."""


def render(report: Report) -> str:
    """Return the HTML of a report: headline, examples, all figures, what was skipped, settings."""
    environment = Environment(
        loader=PackageLoader("obverse.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    explanation = None if report.examples is None else report.examples.explanation
    scale = 1.0 if explanation is None else common_scale(explanation)
    return environment.get_template("report.html.j2").render(
        report=report,
        headline=[(row.label, row) for row in report.headline()],
        questions=_by_question(report.rows),
        examples=_examples(report, scale),
        shown=0 if report.examples is None else len(report.examples),
        has_change=explanation is not None and explanation.difference is not None,
        scale=number(scale),
        plots=[_plot(name, x, y) for name, (x, y) in report.curves.items()],
        training=_plot("training", *map(list, zip(*report.training))) if len(report.training) > 1 else None,
        settings=_flat(report.settings),
        number=number,
        aside=aside,
        arrow=lambda text: text.replace("->", "→"),
        place=_place,
    )


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


def _examples(report: Report, scale: float) -> list[dict[str, Any]]:
    examples = report.examples
    if examples is None or examples.explanation is None or examples.sample is None:
        return []
    explanation, sample = examples.explanation, examples.sample
    return [_example(explanation, sample, row, int(examples.index[row]), scale) for row in range(len(examples))]


def _example(explanation: Explanation, sample: Sample, row: int, index: int, scale: float) -> dict[str, Any]:
    pictures = panels(explanation, row, scale)
    if sample.mask is not None and bool((sample.mask[row] > 0).any()):
        pictures.append(("mask", outline(sample.image[row], sample.mask[row])))
    if sample.twin is not None and bool((sample.twin[row] != sample.image[row]).any()):
        pictures.append(("true twin", pixels(sample.twin[row])))
    classes = explanation.classes
    source, target = int(explanation.source[row]), int(explanation.target[row])
    before, after = explanation.posterior_before[row], explanation.posterior_after[row]
    others = [k for k in (before + after).argsort(descending=True).tolist() if k not in (source, target)]
    label = None if sample.label is None or int(sample.label[row]) < 0 else int(sample.label[row])
    return {
        "name": f"image {index}" if sample.path is None else sample.path[row],
        "source": classes[source], "target": classes[target],
        "valid": bool(explanation.valid[row]), "made": explanation.counterfactual is not None,
        "words": explanation.words(row),
        "wrong": "" if label is None or label == source else f"labelled {classes[label]}: the classifier is wrong here",
        "pictures": [(name, _uri(picture), picture.shape[1] < 100) for name, picture in pictures],
        "bars": [(classes[k], 100 * float(before[k]), 100 * float(after[k]))
                 for k in [source, target, *others][:MOST_BARS]],
    }  # fmt: skip


def _uri(picture: Pixels) -> str:
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()


def _plot(name: str, x: list[float], y: list[float]) -> dict[str, Any]:
    """Return a curve as the points of an SVG line in a box of 300 x 120, with its axes' ends."""
    low, high = min(y), max(y)
    span, width = (high - low) or 1.0, (x[-1] - x[0]) or 1.0
    points = " ".join(f"{300 * (a - x[0]) / width:.1f},{120 - 120 * (b - low) / span:.1f}" for a, b in zip(x, y))
    return {"name": name, "points": points, "left": number(x[0]), "right": number(x[-1]), "low": number(low),
            "high": number(high)}  # fmt: skip


def _flat(settings: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as names and texts."""
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}: ")
        elif value is not None and value != []:
            rows.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)))
    return rows
