"""Targeted projected gradient descent (Madry et al. 2018): the adversarial example as a counterfactual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from obverse.baselines.common import check_positive
from obverse.explainer import Answer, Explainer, Query
from obverse.search import minimise


@dataclass(eq=False, kw_only=True)
class PGD(Explainer):
    """Sign-gradient steps towards the target within an L-infinity ball: C3LT's "Adv. Attack" (appendix).

    The scale: C3LT prints steps of 1/255, at most 1000, and a ball of 64/255 (MNIST) or 72/255 (Fashion), but its images
    are in [-1, 1] and the attack library it names works on [0, 1]. Read on [0, 1], as here, the ball is that large; had the
    authors meant their own range, it is half: `epsilon=32/255, rate=0.5/255`.

    Deviations: it starts at the image, not at a random point of the ball, so that it needs no seed; an image whose target
    has reached `confidence` takes no more steps (1 goes on to the last step).

    Args:
        epsilon: the largest change of a pixel, in [0, 1].
        rate: the change of every pixel a step.
        steps: at most.
        confidence: posterior of the target at which an image stops, in (0, 1].

    Raises:
        ValueError: numbers outside these ranges.
    """

    name: ClassVar[str] = "pgd"

    epsilon: float = 64 / 255
    rate: float = 1 / 255
    steps: int = 1000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.name, epsilon=self.epsilon, rate=self.rate, steps=self.steps, confidence=self.confidence)
        if self.epsilon > 1 or self.confidence > 1:
            raise ValueError(f"epsilon, confidence: expected at most 1, got {self.epsilon:g} and {self.confidence:g}; pixels "
                             "are in [0, 1]: divide by 255")  # fmt: skip

    def answer(self, query: Query) -> Answer:
        """Return the first image on the way that is sure enough, or the best one."""
        low, high = (query.image - self.epsilon).clamp_min(0), (query.image + self.epsilon).clamp_max(1)

        def objective(image: Tensor, rows: Tensor) -> Tensor:
            return F.cross_entropy(self.classifier.logits(image).float(), query.target[rows], reduction="none")

        def sure(image: Tensor, rows: Tensor) -> Tensor:
            posterior = self.classifier.posterior(image).gather(1, query.target[rows, None]).squeeze(1)
            return posterior > self.confidence

        found = minimise(
            objective, query.image, steps=self.steps, rate=self.rate, update="sign", done=sure, check_every=5,
            project=lambda image, rows: image.clamp(low[rows], high[rows]),
        )  # fmt: skip
        return Answer(counterfactual=found.value)
