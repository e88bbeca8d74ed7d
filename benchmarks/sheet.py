"""One picture a table: every explainer that is trained or needs no training, on the same eight test images."""

from __future__ import annotations

import sys
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

import obverse.data
from benchmarks.runner import RESULTS
from benchmarks.table import Table, Training
from benchmarks.tables import baselines_digits, baselines_fashion, baselines_lesions, baselines_tile
from benchmarks.training import Workshop, train_classifier, trained
from obverse.data.base import Dataset
from obverse.explanation import Explanation
from obverse.figures import heat, pixels

IMAGES = 8
TABLES = (baselines_digits.TABLE, baselines_fashion.TABLE, baselines_lesions.TABLE, baselines_tile.TABLE)


def run(*, quick: bool) -> dict[str, Any]:
    """Write results/sheet-NAME.png for each table of baselines whose classifier is there; a quick run writes nothing."""
    drawn: dict[str, Any] = {}
    for table in TABLES[:1] if quick else TABLES:
        splits = {name: obverse.data.open(table.data, split=name, size=table.size, count=table.counts.get(name))
                  for name in ("train", "validation", "test")}  # fmt: skip
        if not trained("classifier", table.classifier, splits["train"], 0, ""):
            sys.stdout.write(f"{table.name}: left out, its classifier is not trained yet\n")
            continue
        answers = explained(table, splits)
        drawn[table.name] = list(answers)
        sys.stdout.write(f"{table.name}: {', '.join(answers)}\n")
        if not quick:
            sheet(answers).savefig(RESULTS / f"sheet-{table.name}.png", dpi=80)
    return drawn


def explained(table: Table, splits: dict[str, Dataset]) -> dict[str, Explanation]:
    """Return what each row makes of the same images, half of each class."""
    classifier, _ = train_classifier(table.classifier, splits["train"], splits["validation"], 0)
    labels = torch.as_tensor(splits["test"].labels())
    rows = [(labels == k).nonzero().flatten() for k in labels.unique().tolist()]
    picked = torch.cat([row[torch.linspace(0, len(row) - 1, IMAGES // len(rows)).long()] for row in rows])
    image = splits["test"][picked].image
    shop, found = Workshop(table.rows, classifier, splits), {}
    for name, row in table.rows.items():
        known = classifier.fingerprint
        if not isinstance(row, Training) or trained(row.method, row, splits["train"], 0, known):
            found[name] = shop.make(name, 0)[0].explain(image)
    return found


def sheet(answers: dict[str, Explanation]) -> Figure:
    """Return the picture: a line an explainer, with counterfactual (and whether it is valid) and map of each image."""
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
                continue
            if answer.counterfactual is not None:
                left.imshow(pixels(answer.counterfactual[k]))
                left.set_xlabel("valid" if bool(answer.valid[k]) else "not valid", fontsize=6, labelpad=1)
            right.imshow(heat(answer.image[k], answer.attribution[k]))
    return figure
