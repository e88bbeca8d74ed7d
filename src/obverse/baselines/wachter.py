"""The counterfactual of Wachter et al. 2018, in pixels: the nearest point that is decided otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from obverse.baselines.common import margin, search_logits
from obverse.explainer import Answer, Explainer, Query
from obverse.search import minimise
from obverse.settings import check_positive


@dataclass(eq=False, kw_only=True)
class Wachter(Explainer):
    """Minimise lambda (f(x') - y')^2 + d(x, x') over pixels, lambda raised until f is near enough (their eqs 1, 2).

    Deviations: f is the margin of the target's logit, since a probability has no gradient where the classifier is sure,
    and a margin beyond the wanted one costs nothing; d is the plain L1 norm, since a weight by each pixel's median
    absolute deviation is 0 for most pixels of a digit.

    Args:
        confidence: posterior against the best other class that is aimed at, in (0.5, 1); 0.9 of its log-odds are near enough.
        weight: lambda of the first round; each further round multiplies it by `factor`.
        factor: above 1.
        rounds: at most; an image leaves after the first that ends near enough.
        steps: of Adam a round.
        rate: Adam's.

    Raises:
        ValueError: numbers outside these ranges.
    """

    name: ClassVar[str] = "wachter"

    confidence: float = 0.9
    weight: float = 0.1
    factor: float = 10.0
    rounds: int = 5
    steps: int = 100
    rate: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "weight", "rounds", "steps", "rate")
        if not (0.5 < self.confidence < 1 and self.factor > 1):
            raise ValueError(f"confidence, factor: expected 0.5 < confidence < 1 and factor > 1, got "
                             f"{self.confidence:g} and {self.factor:g}; 0.5 is no decision")  # fmt: skip

    def answer(self, query: Query) -> Answer:
        """Return the solution of each image's last round."""
        found, left = query.image.clone(), torch.arange(len(query.image), device=query.image.device)
        for number in range(self.rounds):
            found[left] = self._round(query, left, found[left], self.weight * self.factor**number)
            with torch.no_grad():
                reached = margin(search_logits(self.classifier, found[left]), query.target[left])
            left = left[reached < 0.9 * math.log(self.confidence / (1 - self.confidence))]
            if len(left) == 0:
                break
        return Answer(counterfactual=found)

    def _round(self, query: Query, left: Tensor, start: Tensor, weight: float) -> Tensor:
        def objective(image: Tensor, rows: Tensor) -> Tensor:
            return self.loss(image, query.image[left[rows]], query.target[left[rows]], weight)

        return minimise(
            objective, start, steps=self.steps, rate=self.rate, project=lambda image, _: image.clamp(0, 1)
        ).value

    def loss(self, image: Tensor, query: Tensor, target: Tensor, weight: float) -> Tensor:
        """Return (M,) the objective: squared shortfall of the margin, weighted, plus L1 summed over pixels."""
        wanted = math.log(self.confidence / (1 - self.confidence))
        shortfall = (wanted - margin(search_logits(self.classifier, image), target)).clamp_min(0)
        return weight * shortfall.square() + (image - query).abs().flatten(1).sum(1)
