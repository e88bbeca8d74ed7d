"""compare(): several reports side by side, with paired differences from a baseline; it ranks nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from obverse.checkpoint import write_json
from obverse.metrics.statistics import paired_interval
from obverse.report.base import Report, Row, number

if TYPE_CHECKING:
    from rich.table import Table

Mark = Literal["better", "worse", ""]
Curve = tuple[list[float], list[float]]
VALID, AREA = "validity (Val)", "share of the image in the map"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One report's figure, and its difference from the baseline's.

    Args:
        value, low, high, n: as in the report.
        difference, difference_low, difference_high: value - baseline over the images that both have, where the figure
            is one of images and both are on the same data.
        pairs: how many images that is.
        common: the mean over the images on which all reports on the baseline's data that have a valid answer are valid (C3LT
            section 4.1), or None.
        common_n: how many images that is.
        mark: "better" or "worse" than the baseline beyond the interval of the difference; without pairs, beyond both
            intervals of the values.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    pairs: int = 0
    common: float | None = None
    common_n: int = 0
    mark: Mark = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure of all reports.

    Args:
        metric, label, question, direction, unit, better: as in the reports.
        cells: by report name; a report that lacks the figure is not in it.
    """

    metric: str
    label: str
    question: str
    direction: str
    unit: str
    better: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Reports side by side.

    Args:
        names: of the reports, the baseline first.
        lines: one a figure.
        notes: what a reader must know, e.g. data that differ.
        curves: by title, then by report: (x, y), where at least two reports have it.
        beside: by figure, then by report, it and the figures beside it over all directions, e.g. floors, or the flips of every
            attribute, whose rows are EPE's class-discrimination matrix where each report explains another label.
    """

    names: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    def console(self) -> Table:
        """Return the table for a terminal; print it with `rich.print`."""
        from rich.table import Table  # heavy, and only for terminals
        from rich.text import Text

        table = Table(title=f"compared with {self.names[0]}", title_justify="left", caption="\n".join(self.notes))
        for name in ("figure", "direction", "better", *self.names):
            table.add_column(name, overflow="fold")
        question = ""
        for line in self.lines:
            if line.question != question:
                question = line.question
                table.add_section()
                table.add_row(Text(question, style="bold"))
            cells = [_text(line.cells.get(name)) for name in self.names]
            table.add_row(line.label, line.direction, line.better, *cells)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return everything, as JSON can hold it."""
        return asdict(self)

    def to_csv(self) -> str:
        """Return one line a figure and report."""
        text = io.StringIO()
        fields = list(Cell.__dataclass_fields__)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["figure", "direction", "better", "report", *fields])
        for line in self.lines:
            for name, cell in line.cells.items():
                values = ["" if value is None else value for value in asdict(cell).values()]
                writer.writerow([line.label, line.direction, line.better, name, *values])
        return text.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the comparison: `.html`, `.json` or `.csv`.

        Raises:
            ValueError: another ending.
        """
        path = Path(path)
        if path.suffix == ".json":
            write_json(path, self.to_dict())
        elif path.suffix == ".csv":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.to_csv(), encoding="utf-8")
        elif path.suffix == ".html":
            from obverse.report.comparison import render  # templates only where wanted

            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render(self), encoding="utf-8")
        else:
            raise ValueError(f"path: expected a name ending in .html, .json or .csv, got {path.name!r}; rename it")


def compare(reports: Mapping[str, Report], *, baseline: str | None = None, seed: int = 0) -> Comparison:
    """Return reports side by side, with paired differences from the baseline.

    Args:
        reports: by name.
        baseline: the one that differences are taken from; None is the first.
        seed: of the resampling.

    Raises:
        ValueError: fewer than two reports, or an unknown baseline.
    """
    if len(reports) < 2:
        raise ValueError(f"reports: expected at least 2, got {len(reports)}; name several runs")
    first = next(iter(reports)) if baseline is None else baseline
    if first not in reports:
        raise ValueError(f"baseline: expected one of {', '.join(reports)}, got {first!r}; name one of the runs")
    names = (first, *(name for name in reports if name != first))
    keys: dict[tuple[str, str], Row] = {}
    for name in names:
        for row in reports[name].rows:
            keys.setdefault((row.label, row.direction), row)
    data = _fact(reports[first], "data")
    same = {name: report for name, report in reports.items() if _fact(report, "data") == data}
    common = _common(same)
    lines = []
    for (label, direction), row in keys.items():
        cells = {}
        for name in names:
            own = next((r for r in reports[name].rows if (r.label, r.direction) == (label, direction)), None)
            if own is not None:
                cells[name] = _cell(own, reports[name], reports[first] if name != first else None,
                                    common if name in same else None, seed)  # fmt: skip
        lines.append(Line(metric=row.metric, label=label, question=row.question, direction=direction, unit=row.unit,
                          better=row.better, cells=cells))  # fmt: skip
    order = {question: k for k, question in enumerate(dict.fromkeys(line.question for line in lines))}
    lines.sort(key=lambda line: order[line.question])
    return Comparison(names=names, lines=tuple(lines), notes=_notes(reports, common, first), curves=_curves(names, reports),
                      beside=_beside(names, reports))  # fmt: skip


def _curves(names: tuple[str, ...], reports: Mapping[str, Report]) -> dict[str, dict[str, Curve]]:
    """Return the curves that several reports have, and of the maps' areas also the ratio to the baseline's."""
    found: dict[str, dict[str, Curve]] = {}
    for name in names:
        for title, curve in reports[name].curves.items():
            found.setdefault(title, {})[name] = curve
    if names[0] in (areas := found.get(AREA, {})):
        x, base = areas[names[0]]
        if some := [k for k, area in enumerate(base) if area > 0]:  # elsewhere there is no ratio
            found[f"{AREA}, relative to {names[0]}"] = {
                name: ([x[k] for k in some], [y[k] / base[k] for k in some]) for name, (_, y) in areas.items()
            }
    return {title: curves for title, curves in found.items() if len(curves) > 1}


def _beside(names: tuple[str, ...], reports: Mapping[str, Report]) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        for row in reports[name].rows:
            if row.direction == "all" and row.beside:
                found.setdefault(row.label, {})[name] = {"the figure": row.value, **row.beside}
    return found


def _cell(row: Row, report: Report, baseline: Report | None, common: set[tuple[int, ...]] | None, seed: int) -> Cell:
    """Return a report's figure; without `common` its images are others than the baseline's, and are not paired with them."""
    facts: dict[str, Any] = {"value": row.value, "low": row.low, "high": row.high, "n": row.n}
    own = _by_image(report, row.label) if row.direction == "all" and common is not None else None
    if own is not None and common is not None:
        some = [value for key, value in own.items() if key in common]
        facts |= {"common": sum(some) / len(some) if some else None, "common_n": len(some)}
    if baseline is None:
        return Cell(**facts)
    other = _by_image(baseline, row.label) if own is not None else None
    bounds: tuple[float, float] | None = None
    if own and other:
        keys = [key for key in own if key in other]
        if keys:
            groups = _groups(report, keys)
            gap, bounds = paired_interval(torch.tensor([own[k] for k in keys]), torch.tensor([other[k] for k in keys]),
                                          groups, seed=seed)  # fmt: skip
            facts |= {"difference": gap, "pairs": len(keys)}
            if bounds is not None:
                facts |= {"difference_low": bounds[0], "difference_high": bounds[1]}
    else:
        rival = next((r for r in baseline.rows if (r.label, r.direction) == (row.label, row.direction)), None)
        if rival is not None and None not in (row.low, row.high, rival.low, rival.high):
            bounds = float(row.low or 0) - float(rival.high or 0), float(row.high or 0) - float(rival.low or 0)
    return Cell(**facts, mark=_mark(bounds, row.better))


def _mark(bounds: tuple[float, float] | None, better: str) -> Mark:
    """Say whether a difference is beyond its interval, and in which direction."""
    if bounds is None or better == "none" or bounds[0] <= 0 <= bounds[1]:
        return ""
    return "better" if (bounds[0] > 0) == (better == "higher") else "worse"


def _identity(report: Report) -> list[tuple[int, ...]]:
    """Return (image, source, target, which answer) of every answer that counts."""
    seen: dict[tuple[int, ...], int] = {}
    keys = []
    for row in [] if report.identity is None else report.identity.tolist():
        key = tuple(row)
        seen[key] = seen.get(key, 0) + 1
        keys.append((*key, seen[key]))
    return keys


def _by_image(report: Report, label: str) -> dict[tuple[int, ...], float] | None:
    if label not in report.values:
        return None
    values = report.values[label].tolist()
    return {key: value for key, value in zip(_identity(report), values, strict=True) if value == value}  # not NaN


def _groups(report: Report, keys: list[tuple[int, ...]]) -> Tensor | None:
    if report.group is None:
        return None
    found = dict(zip(_identity(report), report.group.tolist(), strict=True))
    return torch.tensor([found[key] for key in keys])


def _common(reports: Mapping[str, Report]) -> set[tuple[int, ...]]:
    """Return the answers that are valid in every report that has any valid ones; empty if fewer than two have."""
    sets = [found for report in reports.values() if (found := _valid(report))]
    return set.intersection(*sets) if len(sets) > 1 else set()


def _valid(report: Report) -> set[tuple[int, ...]]:
    """Return the answers of a report that are valid; none if it does not know."""
    values = _by_image(report, VALID) or {}
    return {key for key, value in values.items() if value == 1}


def _notes(reports: Mapping[str, Report], common: set[tuple[int, ...]], first: str) -> tuple[str, ...]:
    without = [name for name, report in reports.items() if not _valid(report)]
    less = f", those without any left out: {', '.join(without)}" if without else ""
    notes = ["Differences are paired by image; marked is what lies beyond the 95 % interval."]
    if any(_by_image(report, VALID) for report in reports.values()):  # elsewhere nobody knows
        notes.append(f"{len(common)} answers are valid in all reports (common){less}.")
    for name, report in reports.items():
        if report.failures:
            notes.append(f"Failed for {name}: {'; '.join(f'{label}: {why}' for label, why in report.failures.items())}.")
    if others := [name for name, report in reports.items() if _fact(report, "data") != _fact(reports[first], "data")]:
        notes.append(f"Of other images than {first}, so neither paired with it nor among the common ones: {', '.join(others)}.")
    for what in ("data", "classifier"):
        seen = {name: _fact(report, what) for name, report in reports.items()}
        if len({str(value) for value in seen.values()}) > 1:
            notes.append(f"The {what} differ: {'; '.join(f'{name}: {value}' for name, value in seen.items())}. Compare "
                         "on the same.")  # fmt: skip
    return tuple(notes)


def _fact(report: Report, what: str) -> str:
    settings: Mapping[str, Any] = report.settings
    if what == "data":
        data = settings.get("data", {})
        return f"{data.get('name')} {data.get('split')} {data.get('images')} {data.get('digest', '')}".strip()
    return str(settings.get("explainer", {}).get("classifier"))[:12]


def _text(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    lines = [number(cell.value) + (f" ({number(cell.low)} to {number(cell.high)})"
                                   if cell.low is not None and cell.high is not None else "")]  # fmt: skip
    if cell.difference is not None:
        interval = ""
        if cell.difference_low is not None and cell.difference_high is not None:
            interval = f" ({number(cell.difference_low)} to {number(cell.difference_high)})"
        lines.append(f"{'+' if cell.difference > 0 else ''}{number(cell.difference)}{interval}")
    if cell.common is not None:
        lines.append(f"common {number(cell.common)}, n {cell.common_n}")
    return "\n".join([*lines, *([cell.mark.upper()] if cell.mark else [])])
