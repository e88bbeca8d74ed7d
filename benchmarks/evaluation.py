"""What evaluating costs: COUT, the full table of one class pair, and memory for many large images."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import obverse.data
from benchmarks.runner import RESULTS, hardware
from benchmarks.tables.syce_digits import TABLE
from benchmarks.training import Workshop, cache, train_classifier
from obverse.checkpoint import write_json
from obverse.classifier import Classifier
from obverse.data.base import Dataset, Sample
from obverse.evaluation import evaluate
from obverse.explainer import Answer, Explainer, Query
from obverse.metrics import METRICS, metric
from obverse.metrics.base import Metric
from obverse.metrics.cost import process_peak
from obverse.metrics.drive import Cout
from obverse.metrics.judges import JudgeSettings
from obverse.runs import versions

LARGE = 128
COUNTS = (5_000, 50_000)


@dataclass(eq=False, kw_only=True)
class Negative(Explainer):
    """Answers with 1 - image: costs nothing, and changes every pixel, which is the dearest case for COUT."""

    name: ClassVar[str] = "negative"
    needs_gradient: ClassVar[bool] = False

    def answer(self, query: Query) -> Answer:
        """Return the negative, and the image itself as the stable image."""
        return Answer(counterfactual=1 - query.image, stable=query.image.clone())


class Stopwatch:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def __call__(self) -> dict[str, Any]:
        """Return seconds by the clock and of all cores together: far apart from `threads` times where the machine is busy."""
        wall, processor = time.perf_counter() - self.wall, time.process_time() - self.processor
        return {"seconds": round(wall, 1), "processor seconds": round(processor, 1), "threads": torch.get_num_threads()}


class Repeated(Dataset):
    """The same few images over and over: as many as wanted, without their memory."""

    def __init__(self, data: Dataset, count: int) -> None:
        self._describe(data)
        self._data, self._count = data, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Sample:
        return self._data[self._rows(index) % len(self._data)]

    def labels(self) -> Tensor | None:
        """Return all labels."""
        labels = self._data.labels()
        return None if labels is None else labels[torch.arange(self._count) % len(self._data)]


def run(*, quick: bool, counts: Sequence[int] = COUNTS) -> dict[str, Any]:
    """Measure, print and write results/evaluation.json after every part."""
    splits = {name: obverse.data.open(TABLE.data, split=name) for name in ("train", "validation", "test")}
    classifier, _ = train_classifier(TABLE.classifier, splits["train"], splits["validation"], 0)
    path = RESULTS / "evaluation.json"
    result: dict[str, Any] = {
        "table": "evaluation",
        "about": "What evaluating costs in seconds, and the most memory that a process held.",
        "versions": versions(),
        "hardware": hardware(),
    }

    def add(name: str, found: dict[str, Any]) -> None:
        result[name] = found
        sys.stdout.write(f"{name}: {json.dumps(found)}\n")
        if not quick:
            write_json(path, result)

    add("cout", cout(classifier, splits["test"], 100 if quick else 1000))
    add("table", whole_table(classifier, splits, 100 if quick else None))
    # judges as usual on few images, small ones on many: what they take does not grow with the number of images
    for count, width in (
        ((100, 2), (200, 2)) if quick else ((500, JudgeSettings.width), *((count, 2) for count in counts))
    ):
        found = subprocess.run(
            [sys.executable, "-c", f"from benchmarks.evaluation import memory; memory({count}, {width})"],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        add(f"memory, {count} images, judges of width {width}", json.loads(found.stdout.splitlines()[-1]))
    return result


def cout(classifier: Classifier, data: Dataset, count: int) -> dict[str, Any]:
    """Return what COUT takes where every pixel changes, so that no step can be left out."""
    image = data[slice(0, count)].image
    explanation, metric = Negative(classifier).explain(image), Cout()
    spent = Stopwatch()
    value = metric(explanation, Sample(image=image), classifier)
    return {"images": len(image), "steps": metric.steps, **spent(), "value": float(value.mean()), "target": 20}


def whole_table(classifier: Classifier, splits: dict[str, Dataset], count: int | None) -> dict[str, Any]:
    """Return what all metrics of the trained digits take: first with the judges to train, then with these kept."""
    explainer, _ = Workshop(TABLE.rows, classifier, splits).make("SyCE", 0)
    second = None
    if TABLE.second_classifier is not None:
        second, _ = train_classifier(TABLE.second_classifier, splits["train"], splits["validation"], 1)
    data = splits["test"] if count is None else splits["test"].subset(torch.arange(count))
    found: dict[str, Any] = {"images": len(data), "target": 180}
    for judges in ("trained or kept", "kept"):
        spent = Stopwatch()
        report = evaluate(
            explainer, data, reference=splits["train"], validation=splits["validation"], second_classifier=second,
            judges=cache() / "judges",
        )  # fmt: skip
        found[f"judges {judges}"] = spent()
        found["rows"] = len(report.rows)
        found["seconds of the second, by what"] = {name: round(spell, 1) for name, spell in report.times.items()}
    return found


def memory(count: int, width: int) -> None:
    """Print the peak of this process after evaluating all metrics on `count` images of 128 x 128."""
    torch.set_num_threads(1)
    shape = (1, LARGE, LARGE)
    torch.manual_seed(0)
    module = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(256, 2))
    few = {
        name: obverse.data.open("lesions", split=name, size=LARGE, count=200)
        for name in ("train", "validation", "test")
    }
    bright = few["train"][slice(0, 200)].image
    with torch.no_grad():  # any decision will do, if half of the images are on each side of it
        module[2].bias -= module(bright).median(0).values
    classifier = Classifier(module, ("healthy", "diseased"), shape, device="cpu")
    before, began = process_peak(), time.process_time()
    with tempfile.TemporaryDirectory() as judges:
        report = evaluate(
            Negative(classifier), Repeated(few["test"], count), reference=Repeated(few["train"], 5_000),
            validation=few["validation"], judges=Path(judges), metrics=quick_judges(width),
        )  # fmt: skip
    sys.stdout.write(json.dumps({
        "images": count, "shape": shape, "peak_mib": round(process_peak()), "of which before": round(before),
        "seconds": round(time.process_time() - began, 1), "rows": len(report.rows), "failures": report.failures,
        "slowest": {name: round(spent) for name, spent in report.times.items()}, "target": 2048,
    }) + "\n")  # fmt: skip


def quick_judges(width: int) -> list[Metric]:
    """Return all metrics, with judges that are trained for two steps: their memory does not depend on it."""
    found = []
    for name in METRICS:
        for one in metric(name).instances():
            changes: dict[str, Any] = (
                {"settings": JudgeSettings(steps=2, width=width)} if hasattr(one, "settings") else {}
            )
            found.append(dataclasses.replace(one, **changes))  # type: ignore[type-var]
    return found
