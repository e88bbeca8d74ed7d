"""SyCE's section 6.3 on digits: distances in an embedding, ours and as released, with the picture of two components."""

from __future__ import annotations

import sys
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

import obverse.data
from benchmarks.runner import RESULTS, figures, hardware
from benchmarks.tables.syce_digits import TABLE
from benchmarks.training import Workshop, cache, train_classifier
from obverse.checkpoint import write_json
from obverse.evaluation import evaluate
from obverse.explanation import Explanation
from obverse.metrics.base import Context
from obverse.metrics.judges import RELEASED, JudgeSettings
from obverse.metrics.realism import FrechetDistance, JensenShannon, Of, Real, real
from obverse.runs import versions

PRESETS = {"ours": JudgeSettings(), "as released": RELEASED}
COLOURS = {"real": "#b9c6da", "counterfactual": "#e66100", "stable": "#2166ac"}


def run(*, quick: bool) -> dict[str, Any]:
    """Measure, print, and write results/embedding.json and embedding.png (a quick run writes nothing)."""
    splits = {name: obverse.data.open(TABLE.data, split=name) for name in ("train", "validation", "test")}
    classifier, _ = train_classifier(TABLE.classifier, splits["train"], splits["validation"], 0)
    explainer, _ = Workshop(TABLE.rows, classifier, splits).make("SyCE", 0)
    test = splits["test"].subset(torch.arange(200)) if quick else splits["test"]
    answers = Explanation.cat([explainer.explain(batch.image) for batch in test.batches(256)])
    found, drawn = {}, {}
    for name, settings in PRESETS.items():
        judges = cache() / "judges"
        of: tuple[Of, ...] = ("counterfactual", "stable")
        metrics = [
            kind("embedding", images, settings=settings) for kind in (FrechetDistance, JensenShannon) for images in of
        ]
        report = evaluate(explainer, test, reference=splits["train"], judges=judges, metrics=metrics)
        context = Context(explainer=explainer, data=test, reference=splits["train"], judges=judges)
        drawn[name] = real(context, "embedding", settings)
        found[name] = {"settings": vars(settings), "embedding": drawn[name].note, "figures": figures(report)}
        sys.stdout.write(f"{name}: {drawn[name].note}\n")
        for row in report.rows:
            sys.stdout.write(f"  {row.label}, {row.direction}: {row.value:.4g}, {row.interval()} "
                             f"{ {key: round(value, 4) for key, value in row.beside.items()} }\n")  # fmt: skip
    result = {
        "table": "embedding",
        "about": "Are the two principal components of the embedding more than the decision? SyCE section 6.3, digits.",
        "presets": found,
        "versions": versions(),
        "hardware": hardware(),
    }
    if not quick:
        write_json(RESULTS / "embedding.json", result)
        scatter(drawn, answers).savefig(RESULTS / "embedding.png", dpi=110)
    return result


def scatter(spaces: dict[str, Real], answers: Explanation) -> Figure:
    """Return the picture: for each embedding and class, real images decided so, and what was made to be of that class."""
    classes = answers.classes
    figure, grid = plt.subplots(len(spaces), len(classes), figsize=(5 * len(classes), 4.4 * len(spaces)), squeeze=False,
                                layout="constrained")  # fmt: skip
    for line, (name, space) in zip(grid, spaces.items()):
        for k, (axes, word) in enumerate(zip(line, classes)):
            sets: dict[str, tuple[Tensor | None, Tensor]] = {
                "real": (answers.image, answers.source == k),
                "counterfactual": (answers.counterfactual, answers.target == k),
                "stable": (answers.stable, answers.source == k),
            }
            for kind, (image, rows) in sets.items():
                if image is not None:
                    x, y = space.plane.project(space.extract(image[rows]).float().cpu()).T
                    axes.scatter(x, y, s=5, c=COLOURS[kind], alpha=0.5, linewidths=0, label=f"{kind} {word}")
            axes.set_title(f"{name}: {space.note}", fontsize=8)
            axes.set_xlabel("first component")
            axes.set_ylabel("second component")
            axes.legend(markerscale=3, fontsize=8)
    return figure
