"""Train what is not trained yet, evaluate every row, print the table and write its results."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import obverse.data
from benchmarks.table import Table
from benchmarks.training import cache, train_classifier, train_explainer
from obverse.checkpoint import write_json
from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.evaluation import Report, evaluate
from obverse.runs import versions

RESULTS = Path(__file__).parent / "results"


def run(table: Table, *, quick: bool) -> dict[str, Any]:
    """Return, and write to results/NAME.json (a quick run writes nothing), every row of a table for every seed."""
    began = time.monotonic()
    table = table.quick() if quick else table
    splits = {
        name: obverse.data.open(table.data, split=name, size=table.size) for name in ("train", "validation", "test")
    }
    classifier, _ = train_classifier(table.classifier, splits["train"], splits["validation"], 0)
    second = None
    if table.second_classifier is not None:
        second, _ = train_classifier(table.second_classifier, splits["train"], splits["validation"], 1)
    rows = [_row(table, name, seed, classifier, second, splits) for name in table.rows for seed in table.seeds]
    result = {
        "table": table.name,
        "about": table.about,
        "data": {name: {"images": len(data), "notes": list(data.notes)} for name, data in splits.items()},
        "classifier": {"training": vars(table.classifier), "test_accuracy": _accuracy(classifier, splits["test"])},
        "second_classifier": None if second is None else {"test_accuracy": _accuracy(second, splits["test"])},
        "rows": rows,
        "paper": [{**vars(paper), "value": paper.value()} for paper in table.paper],
        "notes": list(table.notes),
        "versions": versions(),
        "hardware": hardware(),
        "minutes": round((time.monotonic() - began) / 60, 2),
    }
    if not quick:
        write_json(RESULTS / f"{table.name}.json", result)
    return result


def _row(
    table: Table, name: str, seed: int, classifier: Classifier, second: Classifier | None, splits: dict[str, Dataset]
) -> dict[str, Any]:
    training = table.rows[name]
    explainer, history = train_explainer(training, classifier, splits["train"], splits["validation"], seed)
    began = time.monotonic()
    report = evaluate(
        explainer, splits["test"], reference=splits["train"], validation=splits["validation"], second_classifier=second,
        metrics=table.metrics or None, history=history, judges=cache() / "judges", seed=0,
    )  # fmt: skip
    folder = cache() / "reports" / table.name
    folder.mkdir(parents=True, exist_ok=True)
    report.save(folder / f"{name}-{seed}.html")
    return {
        "row": name,
        "seed": seed,
        "training": vars(training),
        "steps": history.steps,
        "training_minutes": round(history.seconds / 60, 2),
        "best_step": history.best_step,
        "evaluation_minutes": round((time.monotonic() - began) / 60, 2),
        "figures": figures(report),
        "skipped": report.skipped,
        "failures": report.failures,
    }


def figures(report: Report) -> list[dict[str, Any]]:
    """Return the rows of a report as JSON can hold them."""
    content: list[dict[str, Any]] = report.to_dict()["rows"]
    return content


def hardware() -> dict[str, Any]:
    """Return what the figures were measured on."""
    capabilities = torch.cpu.get_capabilities()
    return {
        "processor": str(capabilities.get("cpu_name", platform.processor())),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "amx_bf16": bool(capabilities.get("amx_bf16")),
        "avx512_bf16": bool(capabilities.get("avx512_bf16")),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def text(result: dict[str, Any]) -> str:
    """Return a table in Markdown: ours with intervals, the paper's figure beside."""
    printed = {(p["row"], p["metric"]): p["value"] for p in result["paper"]}
    lines = [
        "| explainer | seed | figure | direction | value | 95 % interval | n | paper |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        for figure in row["figures"]:
            paper = printed.get((row["row"], figure["metric"]), "") if figure["direction"] == "all" else ""
            low, high = figure["low"], figure["high"]
            interval = "" if low is None or high is None else f"{low:.4g} to {high:.4g}"
            lines.append(f"| {row['row']} | {row['seed']} | {figure['label']} | {figure['direction']} | "
                         f"{figure['value']:.4g} | {interval} | {figure['n']} | {paper} |")  # fmt: skip
    return "\n".join(lines)


def _accuracy(classifier: Classifier, data: Dataset) -> float:
    labels = torch.as_tensor(data.labels())
    return statistics.fmean((classifier.posteriors(data).argmax(1) == labels).float().tolist())
