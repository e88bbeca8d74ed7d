"""Where CX-GAN puts the disc when it is asked for several answers to one healthy image (generated lesions)."""

from __future__ import annotations

import sys
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

import obverse.data
from benchmarks.runner import RESULTS, first_of_each, hardware
from benchmarks.tables.lesions import TABLE
from benchmarks.training import Workshop, train_classifier
from obverse.checkpoint import write_json
from obverse.explanation import Explanation
from obverse.figures import pixels
from obverse.runs import versions

IMAGES, ANSWERS, SHOWN = 200, 8, 6
PLACES = ("top left", "bottom right")


def run(*, quick: bool) -> dict[str, Any]:
    """Measure, print, and write results/answers.json and answers.png; quick writes nothing."""
    table = TABLE.quick() if quick else TABLE
    splits = {
        name: obverse.data.open(table.data, split=name, size=table.size, count=table.counts.get(name))
        for name in ("train", "validation", "test")
    }
    classifier, _ = train_classifier(table.classifier, splits["train"], splits["validation"], 0)
    explainer, _ = Workshop(table.rows, classifier, splits).make("CX-GAN integrated", 0)
    test = first_of_each(splits["test"], 4 if quick else IMAGES)[:]
    if test.label is None or test.twin is None:
        raise ValueError(f"{table.data}: expected labels and twins, got none; mend the table {table.name}")
    disc = (test.image - test.twin)[test.label == 1].sum((1, 2, 3)).mean()
    # an image by itself, each with another seed: the images of one call share their noise
    answers = Explanation.cat([
        explainer.explain(image[None], "diseased", answers=ANSWERS, seed=number)
        for number, image in enumerate(test.image[test.label == 0])
    ])  # fmt: skip
    found = brightened(answers) / disc
    place = placed(found).view(-1, ANSWERS, len(PLACES) + 1)
    result = {
        "table": "answers",
        "about": __doc__,
        "images": len(place),
        "answers an image": ANSWERS,
        "valid answers": round(float(answers.valid[answers.asked].float().mean()), 4),
        "answers that brighten only the place": {
            name: round(float(place[..., k].float().mean()), 4) for k, name in enumerate((*PLACES, "both"))
        },
        "images with an answer in either place alone": round(float(place[..., :2].any(1).all(1).float().mean()), 4),
        "brightness added, in discs, mean": round(float(found.sum(1).mean()), 4),
        "answers with a disc in the bottom right, of each image": torch.bincount(
            place[..., 1:].any(2).sum(1), minlength=ANSWERS + 1
        ).tolist(),
        "notes": [
            "Every image has noise of its own.",
            "A place counts as brightened if its quarter of the image gained at least a third of a disc's brightness.",
        ],
        "explains": classifier.fingerprint[:12],
        "versions": versions(),
        "hardware": hardware(),
    }
    sys.stdout.write("\n".join(f"{key}: {value}" for key, value in result.items()) + "\n")
    if not quick:
        write_json(RESULTS / "answers.json", result)
        sheet(answers).savefig(RESULTS / "answers.png", dpi=80)
    return result


def brightened(answers: Explanation) -> Tensor:
    """Return by how much each answer is brighter than its image in the first and the last quarter, (N, 2)."""
    if answers.counterfactual is None:
        raise ValueError("answers: expected counterfactuals, got none; ask a translator with noise")
    more = (answers.counterfactual - answers.image).clamp_min(0)
    height, width = more.shape[-2] // 2, more.shape[-1] // 2
    return torch.stack([more[..., :height, :width].sum((1, 2, 3)), more[..., height:, width:].sum((1, 2, 3))], 1)


def placed(found: Tensor) -> Tensor:
    """Return whether the first place alone, the last alone, or both gained a third of a disc, (N, 3)."""
    first, last = (found >= 1 / 3).unbind(1)
    return torch.stack([first & ~last, last & ~first, first & last], 1)


def sheet(answers: Explanation) -> Figure:
    """Return the picture: a line an image, with its answers."""
    figure, grid = plt.subplots(SHOWN, ANSWERS + 1, figsize=(1.3 * (ANSWERS + 1), 1.35 * SHOWN), layout="constrained")
    for row, line in enumerate(grid):
        for column, axes in enumerate(line):
            index = row * ANSWERS + max(column - 1, 0)
            made = None if column == 0 else answers.counterfactual
            shown = answers.image if made is None else made
            axes.imshow(pixels(shown[index]), cmap="gray", vmin=0, vmax=1)
            axes.axis("off")
            if row == 0:
                axes.set_title("image" if column == 0 else f"answer {column}", fontsize=8)
    return figure
