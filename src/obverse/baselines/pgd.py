"""Targeted projected gradient descent (Madry et al. 2018): the adversarial example as a counterfactual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from obverse.baselines.common import search_logits
from obverse.classifier import Classifier
from obverse.explainer import Answer, Explainer, Query
from obverse.losses import log_odds
from obverse.search import minimise
from obverse.settings import check_positive


@dataclass(eq=False, kw_only=True)
class PGD(Explainer):
    """Sign-gradient steps towards the target within an L-infinity ball: C3LT's "Adv. Attack" (appendix).

    The scale: C3LT prints steps of 1/255, at most 1000, and a ball of 64/255 (MNIST) or 72/255 (Fashion), but its
    images are in [-1, 1] and the attack library it names works on [0, 1]. Read on [0, 1], as here, the ball is that
    large; had the authors meant their own range, it is half: `epsilon=32/255, rate=0.5/255`.

    Deviations: it starts at the image, not at a random point of the ball, so that it needs no seed; an image whose
    target has reached `confidence`, or whose posterior stands still, takes no more steps. `PGD.published` lets every
    image take all steps. Returned is the image with the highest posterior on the way, not the last one.

    Args:
        epsilon: the largest change of a pixel, in [0, 1].
        rate: the change of every pixel a step.
        steps: at most.
        confidence: posterior of the target above which an image stops, in (0, 1]; 1 is never reached.
        patience: steps without a rise of the posterior's log-odds by 0.004 after which an image stops.

    Raises:
        ValueError: numbers outside these ranges.
    """

    name: ClassVar[str] = "pgd"

    epsilon: float = 64 / 255
    rate: float = 1 / 255
    steps: int = 1000
    confidence: float = 0.6
    patience: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "epsilon", "rate", "steps", "confidence", "patience")
        if self.epsilon > 1 or self.confidence > 1:
            raise ValueError(f"epsilon, confidence: expected at most 1, got {self.epsilon:g} and {self.confidence:g}; "
                             "pixels are in [0, 1]: divide by 255")  # fmt: skip

    @classmethod
    def published(cls, classifier: Classifier, *, epsilon: float = 64 / 255) -> Self:
        """Return C3LT's setting: 1000 steps for every image."""
        return cls(classifier, epsilon=epsilon, confidence=1.0, patience=1000)

    def answer(self, query: Query) -> Answer:
        """Return where each image reached `confidence`, or the image with the highest posterior that it came by."""
        low, high = (query.image - self.epsilon).clamp_min(0), (query.image + self.epsilon).clamp_max(1)
        highest = torch.full((len(low),), -torch.inf, device=low.device)
        level, since = highest.clone(), torch.zeros_like(highest)
        look = min(5, self.patience)

        def objective(image: Tensor, rows: Tensor) -> Tensor:
            return F.cross_entropy(search_logits(self.classifier, image), query.target[rows], reduction="none")

        def done(image: Tensor, rows: Tensor) -> Tensor:
            level[rows] = log_odds(search_logits(self.classifier, image), query.target[rows])
            return level[rows].sigmoid() > self.confidence

        def settled(_: Tensor, rows: Tensor) -> Tensor:
            rises = level[rows] > highest[rows] + 0.004
            highest[rows] = torch.maximum(highest[rows], level[rows])
            since[rows] = torch.where(rises, torch.zeros_like(level[rows]), since[rows] + look)
            return since[rows] >= self.patience

        found = minimise(
            objective, query.image, steps=self.steps, rate=self.rate, update="sign", done=done, settled=settled,
            check_every=look, project=lambda image, rows: image.clamp(low[rows], high[rows]),
        )  # fmt: skip
        return Answer(counterfactual=found.value)
