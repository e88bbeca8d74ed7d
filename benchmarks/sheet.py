"""One picture a table: every explainer that is trained, or needs no training, on the same eight test images.

Where one has a knob, another picture turns it; the pairs of classes of C3LT share one. `seen` says what is to be seen on each.
"""

from __future__ import annotations

import sys
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

import obverse.data
from benchmarks.runner import RESULTS, of_classes, seen_by_classifier
from benchmarks.table import Training
from benchmarks.tables import BASELINES, TABLES
from benchmarks.training import Workshop, train_classifier, trained
from obverse.data.base import Dataset, Sample
from obverse.explainer import Explainer
from obverse.explanation import Explanation
from obverse.figures import heat, pixels

IMAGES = 8


def run(*, quick: bool) -> dict[str, Any]:
    """Write results/sheet-NAME.png for each table with a trained row, and for those of baselines; quick writes nothing."""
    drawn: dict[str, Any] = {}
    walked: dict[str, Explanation] = {}
    for table in BASELINES[:1] if quick else TABLES.values():
        splits = {name: obverse.data.open(table.data, split=name, size=table.size, count=table.counts.get(name))
                  for name in ("train", "validation", "test")}  # fmt: skip
        train = seen_by_classifier(table, splits["train"])
        if not trained("classifier", table.classifier, train, 0, ""):
            sys.stdout.write(f"{table.name}: left out, its classifier is not trained yet\n")
            continue
        shop = Workshop(table.rows, train_classifier(table.classifier, train, splits["validation"], 0)[0], splits)
        ready = [name for name in table.rows if shop.ready(name, 0)]
        if table not in BASELINES and not any(isinstance(table.rows[name], Training) for name in ready):
            sys.stdout.write(f"{table.name}: left out, no row is trained yet\n")
            continue
        sample = shown(of_classes(splits["test"], table.test_classes) if table.test_classes else splits["test"])
        explainers = {name: shop.make(name, 0)[0] for name in ready}
        answers = {name: explainer.explain(sample.image) for name, explainer in explainers.items()}
        if "C3LT" in answers:
            walked[table.name] = answers["C3LT"]
        drawn[table.name] = list(answers)
        sys.stdout.write(f"{table.name}: {', '.join(answers)}\n")
        if not quick:
            sheet(answers, sample.mask).savefig(RESULTS / f"sheet-{table.name}.png", dpi=80)
            for explainer in [one for one in explainers.values() if one.has_knob][-1:]:  # the one that searches most
                strip(explainer, sample.image).savefig(RESULTS / f"strip-{table.name}.png", dpi=80)
    if walked and not quick:
        pairs(walked).savefig(RESULTS / "sheet-c3lt.png", dpi=80)
    return drawn


def pairs(answers: dict[str, Explanation]) -> Figure:
    """Return the picture: for each pair of classes images, their counterfactuals, and where these differ from them."""
    figure, grid = plt.subplots((len(answers) + 1) // 2, 2, figsize=(16, 2.9 * ((len(answers) + 1) // 2)), squeeze=False,
                                layout="constrained")  # fmt: skip
    for axes in grid.flat:
        axes.axis("off")
    for axes, (name, answer) in zip(grid.T.flat, answers.items()):
        if answer.counterfactual is None:
            raise ValueError(f"{name}: expected counterfactuals, got none; leave it out")
        change = (answer.counterfactual - answer.image).abs()
        lines = [torch.cat(list(images.cpu()), 2) for images in (answer.image, answer.counterfactual, change)]
        axes.imshow(pixels(torch.cat(lines, 1)))
        axes.set_title(f"{name}: image, counterfactual, change", fontsize=9)
    return figure


def shown(test: Dataset) -> Sample:
    """Return the images of a sheet, equally many of each class."""
    labels = torch.as_tensor(test.labels())
    rows = [(labels == k).nonzero().flatten() for k in labels.unique().tolist()]
    each = [row[torch.linspace(0, len(row) - 1, max(1, IMAGES // len(rows))).long()] for row in rows]
    return test[torch.cat(each)[:IMAGES]]


def sheet(answers: dict[str, Explanation], mask: Tensor | None = None) -> Figure:
    """Return the picture: a line an explainer, with counterfactual (and whether it is valid) and map of each image.

    Args:
        answers: of the same images, by the explainers' names.
        mask: (N, 1, H, W), where the finding is; it stands beside the image.
    """
    first = next(iter(answers.values()))
    columns = 2 * len(first)
    figure, grid = plt.subplots(len(answers) + 1, columns, figsize=(columns + 2.4, 1.12 * (len(answers) + 1)),
                                squeeze=False, layout="constrained")  # fmt: skip
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_frame_on(False)
    lines = {"image": None, **answers}
    for line, (name, answer) in zip(grid, lines.items()):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        for k in range(len(first)):
            left, right = line[2 * k], line[2 * k + 1]
            if answer is None:
                left.imshow(pixels(first.image[k]))
                left.set_title(f"{first.classes[int(first.source[k])]} to {first.classes[int(first.target[k])]}", fontsize=8)
                if mask is not None:
                    right.imshow(pixels(mask[k]))
                continue
            if answer.counterfactual is not None:
                left.imshow(pixels(answer.counterfactual[k]))
                left.set_xlabel("valid" if bool(answer.valid[k]) else "not valid", fontsize=6, labelpad=1)
            right.imshow(heat(answer.image[k], answer.attribution[k]))
    return figure


def strip(explainer: Explainer, image: Tensor) -> Figure:
    """Return the picture of a knob: a line an image, with what it becomes for rising posteriors of the second class.

    Above stands what was asked for, beneath each what the classifier says.
    """
    asked = [0.05 + 0.1 * k for k in range(10)]
    turned = [explainer.at(image, posterior, of=1) for posterior in asked]
    figure, grid = plt.subplots(len(image), 1 + len(asked), figsize=(1.05 * (1 + len(asked)), 1.25 * len(image)),
                                squeeze=False, layout="constrained")  # fmt: skip
    for k, line in enumerate(grid):
        shown = [(pixels(image[k]), f"{float(turned[0].posterior_before[k, 1]):.2f}")]
        for one in turned:
            if one.counterfactual is None or one.posterior_after is None:
                raise ValueError(f"{explainer.name}: expected counterfactuals of its knob, got a map alone")
            shown.append((pixels(one.counterfactual[k]), f"{float(one.posterior_after[k, 1]):.2f}"))
        for axes, (picture, obtained) in zip(line, shown):
            axes.imshow(picture)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(obtained, fontsize=7, labelpad=1)
    for axes, text in zip(grid[0], ["query", *(f"{posterior:.2f}" for posterior in asked)]):
        axes.set_title(text, fontsize=8)
    return figure
