"""How long the search baselines take: 256 digits at once, and CEM's published setting on 32."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

import obverse.data
from benchmarks.runner import RESULTS, first_of_each, hardware
from benchmarks.table import Untrained
from benchmarks.tables.syce_digits import TABLE
from benchmarks.training import Workshop, train_classifier
from obverse.checkpoint import read_json, write_json
from obverse.runs import versions

ROWS = {
    "PGD": (Untrained(method="pgd"), 256, 10),
    "PGD, published": (Untrained(method="pgd", preset="published"), 32, None),
    "CVE": (Untrained(method="cve"), 256, 120),
    "CEM, 3 searches of 300": (Untrained(method="cem", autoencoder=True), 256, 180),
    "CEM, published": (Untrained(method="cem", preset="published", autoencoder=True), 32, None),
}
"""What is searched how, how many digits, and the most seconds on two cores that it may take."""
PAPER = {"CEM": 68.34, "CVE": 0.0291}
"""Seconds a sample, C3LT table 4 (RTX 2080 Ti, one image at a time)."""


def run(*, quick: bool) -> dict[str, Any]:
    """Measure, print, and write results/searches.json after every row.

    Rows that are there stay, whichever classifier they explain: LeNets of other weights take the same time.
    """
    splits = {name: obverse.data.open(TABLE.data, split=name) for name in ("train", "validation", "test")}
    classifier, _ = train_classifier(TABLE.classifier, splits["train"], splits["validation"], 0)
    shop = Workshop({name: row for name, (row, _, _) in ROWS.items()}, classifier, splits)
    path = RESULTS / "searches.json"
    rows: dict[str, Any] = {}
    result = {
        "table": "searches",
        "about": "Seconds that the search baselines take for digits 3 and 8, all images at once.",
        "rows": rows,
        "paper, seconds a sample": PAPER,
        "versions": versions(),
        "hardware": hardware(),
    }
    for name, (_, count, target) in ROWS.items():
        if not quick and name in _there(path):
            continue
        explainer, _ = shop.make(name, 0)
        image = first_of_each(splits["test"], (4 if quick else count) // 2)[:].image
        explainer.explain(image[:2])  # what the method does once
        wall, processor = time.perf_counter(), time.process_time()
        found = explainer.explain(image)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        rows[name] = {
            "images": len(image), "wall seconds": round(wall, 2), "processor seconds": round(processor, 2),
            "threads": torch.get_num_threads(), "seconds an image": round(processor / len(image), 4),
            "target, seconds": target, "validity": round(float(found.valid.float().mean()), 4),
            "explains": classifier.fingerprint[:12], "hardware": hardware(),
        }  # fmt: skip
        sys.stdout.write(f"{name}: {json.dumps(rows[name])}\n")
        if not quick:
            write_json(path, result | {"rows": _there(path) | rows})
    return result


def _there(path: Path) -> dict[str, Any]:
    rows: dict[str, Any] = read_json(path)["rows"] if path.exists() else {}
    return rows
