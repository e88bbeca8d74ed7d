"""Report: what an evaluation found, as a table, JSON, CSV or one HTML file."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from obverse.checkpoint import read_json, write_json
from obverse.metrics import METRICS, metric
from obverse.metrics.base import Better
from obverse.report.examples import Examples

if TYPE_CHECKING:
    from rich.console import Group

HEADLINE = ("validity", "transfer", "l1", "dice", "ncc", "cout", "twin_distance", "knob_calibration", "seconds")
"""The metrics that a report opens with, where it has them."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure.

    Args:
        metric: its key in METRICS.
        label: its name in tables.
        question: under which it is listed.
        direction: "all", or a pair such as "3 -> 8".
        value: the figure.
        n: how many answers it summarises.
        low, high: the 95 % interval, where there is one.
        sd: the standard deviation over answers, where there is one.
        unit: "" for a pure number.
        better: "higher", "lower" or "none".
        note: what a reader must know.
        beside: figures to read it against, by name.
    """

    metric: str
    label: str
    question: str
    direction: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    unit: str = ""
    better: Better = "none"
    note: str = ""
    beside: Mapping[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """Return the value with its unit, as tables print it."""
        for unit, size in (("µs", 1e-6), ("ms", 1e-3)):
            if self.unit == "s" and 0 < self.value < 1000 * size:
                return f"{number(self.value / size)} {unit}"
        return f"{number(self.value)} {self.unit}".strip()

    def interval(self) -> str:
        """Return the interval as tables print it; "" without one."""
        return "" if self.low is None or self.high is None else f"{number(self.low)} to {number(self.high)}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an evaluation found.

    Args:
        title: method and data.
        rows: the figures, in the order of METRICS.
        counts: images, answers, answers that count, and those left out since nothing was asked of them.
        skipped: label to why it was not computed and what to pass.
        failures: label to the error.
        settings: of explainer, data, classifier and evaluation.
        versions: of the software, and the machine.
        times: seconds, by what they were spent on.
        curves: name to (x, y).
        training: (step, score) at every validation, where the history was given.
        values: label to the figure of every answer that counts, NaN where it does not apply.
        identity: image, source and target of those answers, (N, 3), to pair them with another report's.
        group: (N,) of those answers, or None.
        examples: the answers that are shown.
    """

    title: str
    rows: tuple[Row, ...]
    counts: Mapping[str, int]
    skipped: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    training: tuple[tuple[int, float], ...] = ()
    values: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    identity: Tensor | None = field(default=None, repr=False)
    group: Tensor | None = field(default=None, repr=False)
    examples: Examples | None = field(default=None, repr=False)

    def row(self, name: str, direction: str = "all") -> Row:
        """Return the first row of a metric, by its key or its label.

        Raises:
            KeyError: none; the message says why, where that is known.
        """
        for row in self.rows:
            if name in (row.metric, row.label) and row.direction == direction:
                return row
        reasons = {**self.skipped, **self.failures}
        known = metric(name).title if name in METRICS else name
        why = next((f"{k}: {v}" for k, v in reasons.items() if k.startswith((name, known))), "it was not asked for")
        raise KeyError(f"{name} ({direction}): the report has no such row; {why}")

    def headline(self, most: int = 5) -> list[Row]:
        """Return the rows to read first."""
        rows: list[Row] = []
        for name in HEADLINE:
            found = [row for row in self.rows if row.metric == name and row.direction == "all"]
            rows += found[-1:] if name == "seconds" else found[:1]
        return rows[: most - 1] + rows[-1:] if len(rows) > most else rows

    def reasons(self) -> dict[str, list[str]]:
        """Return why something was skipped, with what was; a metric of which nothing was computed is named once."""
        found: dict[str, dict[str, None]] = {}
        computed = {_stem(row.label) for row in self.rows}
        for name, why in self.skipped.items():
            whole = _stem(name)
            found.setdefault(why, {})[name if whole in computed else whole] = None
        return {why: list(names) for why, names in found.items()}

    # ------------------------------------------------------------------ as tables and files

    def console(self) -> Group:
        """Return the table for a terminal; print it with `rich.print`."""
        from rich.console import Group  # heavy, and only for terminals
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.title, title_justify="left", title_style="bold", pad_edge=False)
        for name, justify in (("figure", "left"), ("direction", "left"), ("value", "right"), ("95 % interval", "right"),
                              ("n", "right"), ("better", "left"), ("note", "left")):  # fmt: skip
            table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
        question, label = "", ""
        for row in self.rows:
            if row.question != question:
                question = row.question
                table.add_section()
                table.add_row(Text(question, style="bold"))
            named = ("", "", "") if row.label == label else (row.label, row.better, aside(row))
            label = row.label
            table.add_row(named[0], row.direction, row.text(), row.interval(), str(row.n), *named[1:])
        lines = [Text(", ".join(f"{value} {name}" for name, value in self.counts.items()))]
        lines += [Text(f"skipped {', '.join(names)}: {why}", style="dim") for why, names in self.reasons().items()]
        lines += [Text(f"failed {name}: {why}", style="bold red") for name, why in self.failures.items()]
        return Group(table, *lines)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the examples, as JSON can hold it."""
        plain = {name: getattr(self, name) for name in ("title", "counts", "skipped", "failures", "settings",
                                                        "versions", "times", "curves", "training")}  # fmt: skip
        return {
            **plain,
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "values": {name: _pack(value, "<f4") for name, value in self.values.items()},
            "identity": None if self.identity is None else _pack(self.identity, "<i8"),
            "group": None if self.group is None else _pack(self.group, "<i8"),
        }

    @staticmethod
    def load(path: str | Path) -> Report:
        """Read a report's JSON file; it comes without examples.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not the JSON of a report.
        """
        content = read_json(Path(path))
        if not {"title", "rows", "counts", "values"} <= content.keys():
            raise ValueError(f"{path}: expected a report that Report.save wrote, got other JSON; evaluate again")
        content["rows"] = tuple(Row(**row) for row in content["rows"])
        content["values"] = {name: _unpack(value) for name, value in content["values"].items()}
        for name in ("identity", "group"):
            content[name] = None if content[name] is None else _unpack(content[name])
        content["curves"] = {name: (x, y) for name, (x, y) in content["curves"].items()}
        content["training"] = tuple((step, score) for step, score in content["training"])
        return Report(**content)

    def to_csv(self) -> str:
        """Return the rows as CSV."""
        text = io.StringIO()
        names = [f.name for f in dataclasses.fields(Row)]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        for row in self.rows:
            values = dataclasses.asdict(row) | {"beside": json.dumps(dict(row.beside)) if row.beside else ""}
            writer.writerow(["" if values[name] is None else values[name] for name in names])
        return text.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the report: `.html`, `.json` or `.csv`.

        Raises:
            ValueError: another ending.
        """
        path = check_ending(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            write_json(path, self.to_dict())
        elif path.suffix == ".csv":
            path.write_text(self.to_csv(), encoding="utf-8")
        else:
            from obverse.report.html import render  # templates and pictures only where wanted

            path.write_text(render(self), encoding="utf-8")


def _stem(label: str) -> str:
    """Return a label up to its first comma that is not within brackets."""
    return re.split(r",\s(?![^\[]*\])", label)[0]


def check_ending(path: str | Path) -> Path:
    """Return where a report is to be written, as a path.

    Raises:
        ValueError: another ending than `.html`, `.json` or `.csv`.
    """
    path = Path(path)
    if path.suffix not in (".html", ".json", ".csv"):
        raise ValueError(f"path: expected a name ending in .html, .json or .csv, got {path.name!r}; rename it")
    return path


def number(value: float) -> str:
    """Return a number with 3 or 4 significant digits, as people write it."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    size = abs(value)
    if size >= 10000 or size < 0.0005:
        return f"{value:.2e}"
    return f"{value:.0f}" if size >= 1000 else f"{value:.1f}" if size >= 100 else f"{value:.{2 if size >= 10 else 3}f}"


def aside(row: Row) -> str:
    """Return the note and the figures beside the value, as tables print them."""
    beside = [f"{name} {number(value)}" for name, value in row.beside.items()]
    return "; ".join([*([row.note] if row.note else []), *beside])


def _pack(value: Tensor, kind: str) -> dict[str, Any]:
    raw = np.ascontiguousarray(value.cpu().numpy().astype(kind))
    return {"type": kind, "shape": list(raw.shape), "base64": base64.b64encode(raw.tobytes()).decode()}


def _unpack(packed: Mapping[str, Any]) -> Tensor:
    raw = np.frombuffer(base64.b64decode(packed["base64"]), dtype=packed["type"]).reshape(packed["shape"])
    return torch.from_numpy(raw.copy())
