"""The reports of a table's rows side by side, as `obverse compare` puts them."""

from __future__ import annotations

import csv
import io
import sys
from typing import Any

from benchmarks.runner import RESULTS, report_file
from benchmarks.table import Table
from benchmarks.tables import TABLES
from benchmarks.training import cache
from obverse.checkpoint import write_text
from obverse.compare import Comparison, compare
from obverse.report.base import Report

NAMES = ("baselines-digits", "baselines-fashion", "baselines-lesions", "baselines-tile")
"""One pair of digits, one of clothes, lesions, and magnetic tiles."""
BASELINE = "nothing"
"""The row that differences are taken from; the first one where it is not there."""
COLUMNS = ("value", "low", "high", "n", "difference", "difference_low", "difference_high", "pairs", "mark")


def run(*, quick: bool) -> dict[str, Any]:
    """Write a comparison of each table's reports beside them, and results/compare-NAME.csv; quick writes nothing."""
    written: dict[str, Any] = {}
    for table in (TABLES[name] for name in NAMES):
        reports = found(table)
        if len(reports) < 2:
            sys.stdout.write(f"{table.name}: left out, {len(reports)} of its rows have a report\n")
            continue
        comparison = compare(reports, baseline=BASELINE if BASELINE in reports else None)
        written[table.name] = list(comparison.names)
        sys.stdout.write("\n".join([f"{table.name}: {', '.join(comparison.names)}", *comparison.notes, ""]))
        if not quick:
            for ending in ("html", "csv"):
                comparison.save(cache() / "reports" / table.name / f"comparison.{ending}")
            write_text(RESULTS / f"compare-{table.name}.csv", short(comparison))
    return written


def found(table: Table) -> dict[str, Report]:
    """Return the reports of the rows that were evaluated, of the first seed, in the table's order."""
    paths = {name: report_file(table, name, table.seeds[0], "json") for name in table.rows}
    return {name: Report.load(path) for name, path in paths.items() if path.exists()}


def short(comparison: Comparison) -> str:
    """Return the figures over all directions as CSV, with 4 digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["figure", "better", "report", *COLUMNS])
    for line in comparison.lines:
        if line.direction != "all":
            continue
        for name, cell in line.cells.items():
            values = [getattr(cell, column) for column in COLUMNS]
            shown = ["" if value is None else f"{value:.4g}" if isinstance(value, float) else value for value in values]
            writer.writerow([line.label, line.better, name, *shown])
    return text.getvalue()
