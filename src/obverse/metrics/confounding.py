"""Does it leave the rest alone? Attributes that flip although nobody asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation, NotApplicable
from obverse.metrics.base import Better, Context, SetMetric, needed
from obverse.metrics.validity import made

QUESTION = "Does it leave the rest alone?"
MOST_GROUPS = 8
"""With more attributes than this, their table has no groups."""


@dataclass(frozen=True)
class Confounding(SetMetric):
    """Share of attributes that flip with the explanation, beyond those that flip in mere reconstruction.

    Args:
        judge: of the attributes.
        explained: classes of the classifier under explanation; an attribute of that name is what was asked to flip.
    """

    judge: Classifier | None = field(default=None, repr=False)
    explained: tuple[str, ...] = ()

    name: ClassVar[str] = "confounding"
    title: ClassVar[str] = "attributes that flip"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    formula: ClassVar[str] = (
        "mean over attributes a that are no class, and images, of [a(x') != a(x)] - [a(x_s) != a(x)], a by its classifier"
    )
    source: ClassVar[str] = "EPE section 4.4 (confounding metric; its class-discrimination matrix is the table beside)"
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual", "attribute_classifier"})
    about: ClassVar[str] = (
        "Tells whether an explanation changes what it was not asked to change, which a classifier with a confounder "
        "makes it do. Beside it the flips of every attribute and, for up to 8, of the images with and without it. "
        "As good as the attribute classifier: flips of the stable image, where the method makes one, are its noise and "
        "are taken off. The printed formula divides by the number of images twice; that is put right."
    )

    def prepare(self, context: Context) -> Self:
        """Take the attribute classifier, and what is explained."""
        return dataclasses.replace(self, judge=context.attribute_classifier, explained=context.classifier.classes)

    def attributes(self, image: Tensor) -> Tensor:
        """Return (N, A) 0 or 1, what the attribute classifier says.

        Raises:
            NotApplicable: there is none.
            ValueError: it is not multi-label.
        """
        judge = needed(self.judge, "attribute_classifier")
        if judge.head != "multilabel":
            raise ValueError("attribute_classifier: expected a classifier with head='multilabel', got one with "
                             "exclusive classes; open it with head='multilabel'")  # fmt: skip
        image = image.to(judge.device)
        return torch.stack([judge.label(name).decide(image) for name in judge.classes], 1)

    def features(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N, 3 A): attributes of the image, flips of the counterfactual, flips of the stable image."""
        before = self.attributes(explanation.image)
        flipped = self.attributes(made(explanation)) != before
        noise = (
            torch.zeros_like(flipped) if explanation.stable is None else self.attributes(explanation.stable) != before
        )
        return torch.cat([before.float(), flipped.float(), noise.float()], 1)

    def compute(self, features: Tensor, source: Tensor, target: Tensor) -> float:
        """Return the mean over all attributes that are no class.

        Raises:
            NotApplicable: all are.
        """
        names = needed(self.judge, "attribute_classifier").classes
        others = [k for k, name in enumerate(names) if name not in self.explained]
        if not others:
            raise NotApplicable(f"attribute_classifier: it knows only {', '.join(names)}, which is asked to flip; pass one of "
                                "what should stay")  # fmt: skip
        _, flipped, noise = features.chunk(3, 1)
        return float((flipped - noise)[:, others].double().mean())

    def beside(self, features: Tensor, source: Tensor, target: Tensor) -> Mapping[str, float]:
        """Return the share of each attribute, and of the images that have it and lack it."""
        if self.judge is None:
            return {}
        before, flipped, noise = features.chunk(3, 1)
        net, found = flipped - noise, {}
        for k, name in enumerate(self.judge.classes):
            found[name] = float(net[:, k].mean())
            for value, word in ((1, "with"), (0, "without")) if len(self.judge.classes) <= MOST_GROUPS else ():
                rows = before[:, k] == value
                if bool(rows.any()):
                    found[f"{name}, images {word} it (n = {int(rows.sum())})"] = float(net[rows, k].mean())
        return found
