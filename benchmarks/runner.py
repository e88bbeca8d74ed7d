"""Make the explainer of every row, evaluate it, print the table and write its results, row by row."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import obverse.data
from benchmarks.table import Table, Training, facts
from benchmarks.training import Workshop, cache, train_classifier, weights
from obverse.checkpoint import read_json, write_json
from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.evaluation import Report, evaluate
from obverse.explainer import LearnedExplainer
from obverse.methods.c3lt import C3LT
from obverse.runs import versions

RESULTS = Path(__file__).parent / "results"


def run(table: Table, *, quick: bool = False, only: Sequence[str] = (), again: bool = False) -> dict[str, Any]:
    """Return, and write to results/NAME.json after every row, the rows of a table for every seed.

    Rows that are not run now are kept from the file, as it is by then, if they explain the same classifier on the same images
    and are declared as they were. A row that fails is recorded with its error, and the others go on; where the file has its
    figures these stay, and the error is listed beside the rows. Figures are cached like trained networks.

    Args:
        table: the declaration.
        quick: a few steps and images, to see that it runs; writes no results.
        only: names of rows; empty runs all.
        again: evaluate also what is cached.
    """
    table = table.quick() if quick else table
    splits = {
        name: obverse.data.open(table.data, split=name, size=table.size, count=table.counts.get(name))
        for name in ("train", "validation", "test")
    }
    classifier, _ = train_classifier(table.classifier, seen_by_classifier(table, splits["train"]), splits["validation"], 0)
    second = None
    if table.second_classifier is not None:
        second, _ = train_classifier(table.second_classifier, splits["train"], splits["validation"], 1)
    path = RESULTS / f"{table.name}.json"
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    evaluation = _Evaluation(table, classifier, second, splits, again=again or quick)
    result = {
        "table": table.name,
        "about": table.about,
        "data": {name: {"images": len(data), "notes": list(data.notes)} for name, data in splits.items()},
        "classifier": {"training": facts(table.classifier), **accuracies(classifier, splits["test"])},
        "second_classifier": None if second is None else accuracies(second, splits["test"]),
        "rows": [],
        "failed_again": {},
        "paper": [{**vars(paper), "value": paper.value()} for paper in table.paper],
        "notes": list(table.notes),
        "versions": versions(),
        "hardware": hardware(),
    }
    order = [(name, seed) for name, row in table.rows.items()
             for seed in (table.seeds if isinstance(row, Training) else table.seeds[:1])]  # fmt: skip
    for name, seed in order:
        if only and name not in only:
            continue
        sys.stderr.write(f"{table.name}: {name}, seed {seed}\n")
        rows[name, seed] = evaluation.row(name, seed)
        kept = {} if quick else {(row["row"], row["seed"]): row for row in stored(path, classifier) if declares(table, row)}
        good = {key: row for key, row in kept.items() if "failed" not in row}
        older = {key: row["failed"] for key, row in rows.items() if "failed" in row and key in good}
        merged = kept | {key: row for key, row in rows.items() if key not in older}
        result |= {
            "rows": [merged[key] for key in order if key in merged],
            "failed_again": {f"{name}, seed {seed}": error for (name, seed), error in older.items()},
        }
        if not quick:
            write_json(path, result)
    return result


def declares(table: Table, stored: Mapping[str, Any]) -> bool:
    """Return whether a row of a results file is one of the table as it is declared now, of the same images."""
    name = stored["row"]
    if name not in table.rows:
        return False
    settings = json.loads(json.dumps(facts(table.rows[name]), default=str))
    same = "failed" in stored or stored["notes"] == which_images(table, name)
    return bool(stored["settings"] == settings) and same


def count_of(table: Table, name: str) -> int | None:
    """Return how many test images of each class a row explains, None for all."""
    return table.rows[name].test_count or table.test_count


def which_images(table: Table, name: str) -> list[str]:
    """Return in words which test images a row explains, nothing for all."""
    count = count_of(table, name)
    only = [f"only {', '.join(table.test_classes)}"] if table.test_classes else []
    return only + ([] if count is None else [f"the first {count} test images of each class"])


def stored(path: Path, classifier: Classifier) -> list[dict[str, Any]]:
    """Return the rows of a results file that explain this classifier; none where there is no file."""
    rows: list[dict[str, Any]] = read_json(path)["rows"] if path.exists() else []
    return [row for row in rows if row.get("explains") == classifier.fingerprint[:12]]


def named(path: Path, classifier: Classifier) -> dict[str, dict[str, Any]]:
    """Return the rows by name of a results file that keeps them so, those that explain this classifier."""
    rows: dict[str, dict[str, Any]] = read_json(path)["rows"] if path.exists() else {}
    return {name: row for name, row in rows.items() if row.get("explains") == classifier.fingerprint[:12]}


class _Evaluation:
    """Evaluates rows; a row whose explainer, images and metrics are as before is not evaluated again."""

    def __init__(
        self, table: Table, classifier: Classifier, second: Classifier | None, splits: Mapping[str, Dataset], *,
        again: bool,
    ) -> None:  # fmt: skip
        self.table, self.classifier, self.second, self.splits, self.again = table, classifier, second, splits, again
        self.workshop = Workshop(table.rows, classifier, splits)

    def row(self, name: str, seed: int) -> dict[str, Any]:
        """Return the figures of a row, or why there are none."""
        began = time.monotonic()
        known = {"row": name, "seed": seed, "explains": self.classifier.fingerprint[:12],
                 "settings": facts(self.table.rows[name])}  # fmt: skip
        try:
            return known | self._figures(name, seed)
        except Exception as error:  # one row's failure must not lose the others
            sys.stderr.write(traceback.format_exc())
            return known | {"failed": f"{type(error).__name__}: {error}", "figures": [], "skipped": {}, "failures": {},
                            "minutes": round((time.monotonic() - began) / 60, 2), "hardware": hardware()}  # fmt: skip

    def explained(self, name: str) -> Dataset:
        """Return the test images of a row."""
        test, count = self.splits["test"], count_of(self.table, name)
        test = of_classes(test, self.table.test_classes) if self.table.test_classes else test
        return test if count is None else first_of_each(test, count)

    def _figures(self, name: str, seed: int) -> dict[str, Any]:
        explainer, history = self.workshop.make(name, seed)
        test, notes = self.explained(name), which_images(self.table, name)
        trained = {} if history is None or not isinstance(explainer, LearnedExplainer) else {
            "steps": history.steps, "training_minutes": round(history.seconds / 60, 2), "best_step": history.best_step,
            "trained_on": history.device, "parameters": parameters(explainer), **asides(explainer, test),
        }  # fmt: skip
        asked = {
            "explainer": explainer.describe(), "weights": weights(explainer), "metrics": self.table.metrics, "seed": seed,
            "data": [test.name, test.image_shape, len(test), [len(data) for data in self.splits.values()]],
            "second": None if self.second is None else self.second.fingerprint, "version": versions()["obverse"],
            "sources": sources(),
        }  # fmt: skip
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:12]
        kept = cache() / "figures" / f"{self.table.name}-{_file(name)}-{digest}.json"
        if kept.exists() and not self.again:
            return trained | read_json(kept)
        began = time.monotonic()
        report = evaluate(
            explainer, test, reference=self.splits["train"], validation=self.splits["validation"],
            second_classifier=self.second, metrics=self.table.metrics or None, history=history,
            judges=cache() / "judges", seed=0,
        )  # fmt: skip
        found = {
            **trained, "images": len(test), "notes": notes, "evaluation_minutes": round((time.monotonic() - began) / 60, 2),
            "figures": figures(report), "skipped": report.skipped, "failures": report.failures,
            "hardware": hardware(),
        }  # fmt: skip
        if not report.failures:  # what failed is tried again
            write_json(kept, found)
        for ending in ("html", "json"):  # the JSON holds every image's figures, for obverse.compare
            report.save(report_file(self.table, name, seed, ending))
        return found


def parameters(explainer: LearnedExplainer) -> dict[str, int]:
    """Return how many numbers each of an explainer's networks learns, those that only its training needs included."""
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in explainer.networks.items()}
    return {name: count for name, count in counts.items() if count}


def asides(explainer: LearnedExplainer, test: Dataset) -> dict[str, Any]:
    """Return what only some methods can say of themselves: C3LT, how far there and back misses, and the samples it took."""
    found: dict[str, Any] = {}
    if isinstance(explainer, C3LT):
        found["round_trip"] = explainer.round_trip(test)
        if explainer.acceptance:
            found["acceptance"] = explainer.acceptance
    return found


def report_file(table: Table, row: str, seed: int, ending: str) -> Path:
    """Return where the report of a row is kept."""
    return cache() / "reports" / table.name / f"{_file(row)}-{seed}.{ending}"


def first_of_each(data: Dataset, count: int) -> Dataset:
    """Return the first `count` images of each class, in their order.

    Raises:
        ValueError: data without labels.
    """
    labels = data.labels()
    if labels is None:
        raise ValueError(f"test_count: {data.name} has no labels, got {count} of each class; leave it out")
    rows: list[Tensor] = [(labels == k).nonzero().flatten()[:count] for k in labels.unique().tolist()]
    return data.subset(torch.cat(rows).sort().values)


def seen_by_classifier(table: Table, train: Dataset) -> Dataset:
    """Return the training images of the classes that the classifier of a table is trained on."""
    return of_classes(train, [name for name in train.classes if name not in table.unseen]) if table.unseen else train


def of_classes(data: Dataset, names: Sequence[str]) -> Dataset:
    """Return the images with one of these labels.

    Raises:
        ValueError: data without labels, or an unknown name.
    """
    labels = data.labels()
    if labels is None or not set(names) <= set(data.classes):
        raise ValueError(f"unseen, test_classes: expected some of {', '.join(data.classes)} on labelled images, got "
                         f"{', '.join(names)}")  # fmt: skip
    return data.subset(torch.isin(labels, torch.tensor([data.classes.index(name) for name in names])))


def figures(report: Report) -> list[dict[str, Any]]:
    """Return the rows of a report as JSON can hold them."""
    content: list[dict[str, Any]] = report.to_dict()["rows"]
    return content


@functools.cache
def sources() -> str:
    """Return a digest of the code that decides figures: all of obverse but what shows or starts it."""
    root, digest = Path(obverse.data.__file__).parents[1], hashlib.sha256()
    shows = {"app", "report", "commands", "cli.py", "figures.py", "progress.py"}
    for path in sorted(path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in shows):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


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
    """Return a table in Markdown: ours with intervals, the papers' figures beside.

    One printed for a metric by its key stands beside the first label of that metric in a row; others are controls.
    """
    printed: dict[tuple[str, str, str], list[str]] = {}
    for p in result["paper"]:
        printed.setdefault((p["ours"] or p["row"], p["metric"], p["direction"]), []).append(f"{p['value']:.4g}")
    lines = [
        "| explainer | seed | figure | direction | value | 95 % interval | n | paper |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        if "failed" in row:
            lines.append(f"| {row['row']} | {row['seed']} | failed: {row['failed']} | | | | | |")
        first: dict[str, str] = {}
        for figure in row["figures"]:
            leads = first.setdefault(figure["metric"], figure["label"]) == figure["label"]
            names = dict.fromkeys([figure["label"], *([figure["metric"]] if leads else [])])
            values = [value for name in names for value in printed.get((row["row"], name, figure["direction"]), [])]
            paper = "; ".join(values)
            low, high = figure["low"], figure["high"]
            interval = "" if low is None or high is None else f"{low:.4g} to {high:.4g}"
            lines.append(f"| {row['row']} | {row['seed']} | {figure['label']} | {figure['direction']} | "
                         f"{figure['value']:.4g} | {interval} | {figure['n']} | {paper} |")  # fmt: skip
    for row in result["rows"]:
        if "training_minutes" in row:
            sizes = ", ".join(f"{name} {count:,}" for name, count in row.get("parameters", {}).items())
            lines.append(f"| {row['row']} | {row['seed']} | trained: {row['steps']} steps, {row['training_minutes']} minutes on "
                         f"{row.get('trained_on', 'a CPU')}; "
                         f"parameters: {sizes or 'not counted'} | | | | | |")  # fmt: skip
        for aside in ("round_trip", "acceptance"):
            if aside in row:
                said = ", ".join(f"{name} {value:.3g}" for name, value in row[aside].items())
                lines.append(f"| {row['row']} | {row['seed']} | {aside.replace('_', ' ')}: {said} | | | | | |")
    for name, error in result["failed_again"].items():
        lines.append(f"| {name} | | failed, its figures are from before: {error} | | | | | |")
    return "\n".join(lines)


def _file(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def accuracies(classifier: Classifier, data: Dataset) -> dict[str, Any]:
    """Return the share of images decided as labelled, that of each class, and the mean of these."""
    labels = torch.as_tensor(data.labels())
    right = (classifier.posteriors(data).argmax(1) == labels).double()
    recall = {data.classes[k]: float(right[labels == k].mean()) for k in labels.unique().tolist()}
    return {
        "test_accuracy": float(right.mean()),
        "balanced_test_accuracy": statistics.fmean(recall.values()),
        "test_recall": recall,
    }
