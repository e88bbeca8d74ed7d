"""A mark in the corner that goes with the digit in training: do explanations of the biased classifier show it (EPE table 3)?"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import obverse.data
from benchmarks.runner import RESULTS, first_of_each, hardware
from benchmarks.table import Row, Training, Untrained
from benchmarks.tables.knob_digits import EPE
from benchmarks.training import Workshop, train_classifier
from obverse.checkpoint import write_json
from obverse.classifier import Classifier
from obverse.data.base import Dataset, MemoryDataset, Sample
from obverse.evaluation import evaluate
from obverse.explainer import Explainer
from obverse.figures import pixels
from obverse.metrics.statistics import interval, paired_interval
from obverse.runs import versions

DATA = "mnist:3,8"
SHARES = {"biased": (0.05, 0.95), "unbiased": (0.5, 0.5)}
"""Share of marked threes and eights that a classifier, and its explainer, are trained on."""
CORNER, LEAST = slice(1, 4), 0.25
"""Rows and columns of the mark, and the mean brightness of the corner from which it counts as there."""
CLASSIFIER = Training(
    method="classifier", settings={"architecture": "LeNet"}, steps=500, batch_size=64, validate_every=100
)
ROWS: dict[str, Row] = {
    "EPE": Training(
        method="exaggeration", settings=EPE.settings, steps=4000, batch_size=32, validate_every=500, max_minutes=40
    ),
    "nearest image": Untrained(method="nearest"),
    "PGD": Untrained(method="pgd", settings={"epsilon": 64 / 255}, test_count=256),
}
PAPER = {"biased": {"to smiling": 0.12, "to not smiling": 0.35}, "unbiased": {"to smiling": 0.07, "to not smiling": 0.08}}
"""Overall shares of table 3, smiles confounded with the apparent sex of faces."""


class Corner(nn.Module):
    """Says by the brightness of the corner alone whether the mark is there."""

    def forward(self, image: Tensor) -> Tensor:
        """Return (N, 1) logits."""
        return 40 * (image[:, :, CORNER, CORNER].mean((1, 2, 3)) - LEAST)[:, None]


def marked(data: Dataset, shares: tuple[float, float], seed: int) -> Dataset:
    """Return the same digits, a share of each class with a square of random brightness in the corner."""
    sample, generator = data[:], torch.Generator().manual_seed(seed)
    if sample.label is None:
        raise ValueError(f"{data.name}: expected labels, got none; the mark goes with the class")
    mark = torch.rand(len(data), generator=generator) < torch.tensor(shares)[sample.label]
    image = sample.image.clone()
    brightness = 0.5 + 0.5 * torch.rand(len(data), generator=generator)
    image[:, :, CORNER, CORNER] = torch.where(mark, brightness, 0.0)[:, None, None, None]
    return MemoryDataset(
        Sample(image=image, label=sample.label, attributes=mark.float()[:, None]), data.classes,
        name=f"{data.name} marked {shares[0]:g} {shares[1]:g}", split=data.split, attribute_names=("mark",),
    )  # fmt: skip


def run(*, quick: bool) -> dict[str, Any]:
    """Measure, print, and write results/confounder.json and .png (a quick run writes nothing)."""
    plain = {name: obverse.data.open(DATA, split=name) for name in ("train", "validation", "test")}
    test = marked(plain["test"], SHARES["unbiased"], 2)
    if quick:
        test = test.subset(torch.arange(16))
    judge = Classifier(Corner(), classes=["mark"], image_shape=test.image_shape, head="multilabel")
    there = judge.label("mark").posteriors(test)[:, 1] > 0.5
    if bool((there != (test[:].attributes[:, 0] > 0)).any()):  # type: ignore[index]
        raise RuntimeError("the mark: expected the corner's brightness to tell it, got errors; mend LEAST")
    classifiers: dict[str, Classifier] = {}
    explainers: dict[tuple[str, str], Explainer] = {}
    training = dataclasses.replace(CLASSIFIER, steps=4, validate_every=4) if quick else CLASSIFIER
    rows = {name: dataclasses.replace(row, steps=4, validate_every=4) if quick and isinstance(row, Training) else row
            for name, row in ROWS.items()}  # fmt: skip
    data = {kind: {name: marked(plain[name], shares, seed) for seed, name in enumerate(("train", "validation"))}
            for kind, shares in SHARES.items()}  # fmt: skip
    for kind, splits in data.items():
        classifiers[kind], _ = train_classifier(training, splits["train"], splits["validation"], 0)
        shop = Workshop(rows, classifiers[kind], splits)
        for name in ROWS:
            sys.stderr.write(f"confounder: {name}, {kind}\n")
            explainers[name, kind], _ = shop.make(name, 0)
    result: dict[str, Any] = {
        "table": "confounder", "about": __doc__, "shares of marked 3 and 8 in training": SHARES, "paper": PAPER,
        "classifiers": {kind: reliance(classifier, test) for kind, classifier in classifiers.items()},
        "rows": {}, "versions": versions(), "hardware": hardware(),
        "notes": [
            "One test set for both classifiers, half of each class marked; flips of the mark by its brightness, no network.",
            "Only images that both classifiers decide alike; counterfactuals that fail are counted like the others.",
        ],
    }  # fmt: skip
    for name in ROWS:
        pair = {kind: explainers[name, kind] for kind in SHARES}
        count = ROWS[name].test_count
        result["rows"][name] = compared(pair, test if count is None else first_of_each(test, count), judge)
        shown = {key: value for key, value in result["rows"][name].items() if key != "all figures"}
        sys.stdout.write(f"{name}: {json.dumps(shown)}\n")
        if not quick:
            write_json(RESULTS / "confounder.json", result)
    sys.stderr.write("confounder: EPE, control\n")
    control, _ = Workshop(rows, classifiers["unbiased"], data["biased"]).make("EPE", 0)
    result["control"] = controlled(control, test, judge)
    sys.stdout.write(f"EPE, control: {json.dumps(result['control'])}\n")
    if not quick:
        write_json(RESULTS / "confounder.json", result)
        sheet({kind: explainers["EPE", kind] for kind in SHARES}, test).savefig(RESULTS / "confounder.png", dpi=110)
        sheet({"control": control}, test).savefig(RESULTS / "confounder-control.png", dpi=110)
    return result


def reliance(classifier: Classifier, test: Dataset) -> dict[str, float]:
    """Return the accuracy of a classifier and the share of images whose decision falls with the mark put on or off."""
    sample = test[:]
    decided = classifier.decide(sample.image.to(classifier.device)).cpu()
    other = sample.image.clone()
    has = other[:, :, CORNER, CORNER].mean((1, 2, 3)) > LEAST
    other[:, :, CORNER, CORNER] = torch.where(has, 0.0, 0.75)[:, None, None, None]
    turned = classifier.decide(other.to(classifier.device)).cpu() != decided
    if sample.label is None:
        raise ValueError(f"{test.name}: expected labels, got none; accuracy needs them")
    return {"accuracy": float(decided.eq(sample.label).float().mean()),
            "decisions that turn with the mark alone": float(turned.float().mean())}  # fmt: skip


def compared(explainers: dict[str, Explainer], test: Dataset, judge: Classifier) -> dict[str, Any]:
    """Return, for each direction, the share of explanations that flip the mark, biased against unbiased."""
    found = {kind: explainer.explain(test[:].image) for kind, explainer in explainers.items()}
    valid = {kind: explanation.valid.cpu() for kind, explanation in found.items()}
    source = {kind: explanation.source.cpu() for kind, explanation in found.items()}
    alike = source["biased"].eq(source["unbiased"])
    rows: dict[str, Any] = {"images decided alike": float(alike.float().mean())}
    flips = {kind: flipped(judge, one.image, one.counterfactual) for kind, one in found.items()}
    for k, name in enumerate(test.classes):
        rows[f"from {name}"] = figures(flips, valid, alike & (source["biased"] == k))
    remade = {kind: one.stable for kind, one in found.items()}
    if all(image is not None for image in remade.values()):
        # a mark that is lost where nothing was asked for is the generator's failure, and no statement on the classifier
        flips = {kind: flipped(judge, remade[kind], one.counterfactual) for kind, one in found.items()}
        for k, name in enumerate(test.classes):
            rows[f"from {name}, against the image remade"] = figures(flips, valid, alike & (source["biased"] == k))
    general = {kind: evaluate(explainer, test, attribute_classifier=judge, metrics=("validity", "confounding", "l1"))
               for kind, explainer in explainers.items()}  # fmt: skip
    return rows | {"all figures": {kind: report.to_dict()["rows"] for kind, report in general.items()}}


def controlled(explainer: Explainer, test: Dataset, judge: Classifier) -> dict[str, Any]:
    """Return, for each direction, the share of explanations of the unbiased classifier that flip the mark all the same.

    The explainer learnt on biased images: what it flips comes from these, not from what the classifier looks at.
    """
    found = explainer.explain(test[:].image)
    starts = {"": found.image} | ({} if found.stable is None else {", against the image remade": found.stable})
    rows: dict[str, Any] = {}
    for against, start in starts.items():
        flips = flipped(judge, start, found.counterfactual)
        for k, name in enumerate(test.classes):
            here = (found.source == k).cpu()
            rows[f"from {name}{against}"] = {"images": 0} if not bool(here.any()) else {
                "images": int(here.sum()), "share": float(flips[here].mean()), "interval": interval(flips[here], share=True),
                "valid": float(found.valid.cpu()[here].float().mean()),
            }  # fmt: skip
    return rows


def flipped(judge: Classifier, before: Tensor | None, after: Tensor | None) -> Tensor:
    """Return (N,) 1 where only one of two images has the mark.

    Raises:
        ValueError: no images.
    """
    if before is None or after is None:
        raise ValueError("confounder: expected counterfactuals, got a map alone; leave the row out")
    mark = judge.label("mark")
    return (mark.decide(before.to(judge.device)) != mark.decide(after.to(judge.device))).cpu().double()


def figures(flips: dict[str, Tensor], valid: dict[str, Tensor], rows: Tensor) -> dict[str, Any]:
    """Return both shares with their intervals, their paired difference and their ratio."""
    if not bool(rows.any()):
        return {"images": 0}
    shares = {kind: float(values[rows].mean()) for kind, values in flips.items()}
    gap, ends = paired_interval(flips["biased"][rows], flips["unbiased"][rows])
    return {
        "images": int(rows.sum()),
        "valid": {kind: float(values[rows].float().mean()) for kind, values in valid.items()},
        "flips": {kind: {"share": share, "interval": interval(flips[kind][rows], share=True)}
                  for kind, share in shares.items()},
        "difference": gap, "interval": ends,
        "ratio": shares["biased"] / shares["unbiased"] if shares["unbiased"] else None,
    }  # fmt: skip


def sheet(explainers: dict[str, Explainer], test: Dataset) -> Figure:
    """Return a picture: images with and without the mark, and the counterfactual of each classifier below."""
    sample = test[:]
    rows = torch.cat([((sample.label == k) & (sample.attributes[:, 0] == mark)).nonzero().flatten()[:3]  # type: ignore[index]
                      for k in range(2) for mark in (0, 1)])  # fmt: skip
    image = sample.image[rows]
    lines = {"image": image} | {kind: explainer.explain(image).counterfactual for kind, explainer in explainers.items()}
    figure, grid = plt.subplots(len(lines), len(rows), figsize=(len(rows), len(lines) + 0.3), layout="constrained")
    for line, (name, images) in zip(grid, lines.items()):
        for axes, one in zip(line, images):  # type: ignore[arg-type]
            axes.imshow(pixels(one))
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(name, fontsize=8)
    return figure
