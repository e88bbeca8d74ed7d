"""xGEM (Joshi et al., "xGEMs: Generating Exemplars to Explain Black-Box Models"), the baseline of Progressive Exaggeration.

A descent in the latent space of a generative model, for each image anew: G(argmin_z L(x, G(z)) + lambda l(f(G(z)), y)).

Deviations: the search stops at the first latent that is decided as wanted with the posterior asked for; L is the mean
absolute error, since neither paper names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from obverse.explainer import Answer, Explainer, Query
from obverse.generative import GenerativeModel
from obverse.latent.inversion import invert, posterior_gap
from obverse.latent.refinement import surely
from obverse.losses import l1_each
from obverse.search import minimise


@dataclass(eq=False, kw_only=True)
class XGEM(Explainer):
    """Counterfactual by descent on the class loss from the image's own latent; nothing is trained but the model.

    The stable image is G(E(x)); where the model has no encoder, the latent is searched for.

    Args:
        model: the generative model; the papers take a VAE.
        class_weight: lambda, of the cross entropy of the target.
        confidence: posterior of the target at which the search ends.
        steps: at most.
        learning_rate: Adam's, in the latent space.
        invert_steps: of the search for the latent, where there is no encoder.

    Raises:
        ValueError: a model of other images, or a confidence outside (0, 1).
    """

    name: ClassVar[str] = "xgem"

    model: GenerativeModel = field(kw_only=False)
    class_weight: float = 1.0
    confidence: float = 0.9
    steps: int = 300
    learning_rate: float = 0.05
    invert_steps: int = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.confidence < 1:
            raise ValueError(
                f"confidence: expected a posterior between 0 and 1, got {self.confidence:g}; pass e.g. 0.9"
            )

    def answer(self, query: Query) -> Answer:
        """Return the exemplar of each image; what is decided as asked already stays, beside its own residual."""
        start, end = self._ends(query)
        stable = self.model.decode(start)
        residual = l1_each(stable, query.image)
        gap = posterior_gap(self.classifier, query.image, stable)
        asked = query.asked.view(-1, 1, 1, 1)
        return Answer(
            counterfactual=torch.where(asked, self.model.decode(end), query.image),
            stable=torch.where(asked, stable, query.image),
            residual=residual,
            posterior_gap=gap,
        )

    def frames(self, query: Query, count: int) -> Tensor:
        """Return images on the straight line between the two latents; what is decided as asked already stays."""
        start, end = self._ends(query)
        weight = torch.linspace(0, 1, count, device=start.device).view(1, -1, 1)
        between = start[:, None] * (1 - weight) + end[:, None] * weight
        shown = self.model.decode(between.flatten(0, 1)).view(len(start), count, *query.image.shape[1:])
        return torch.where(query.asked.view(-1, 1, 1, 1, 1), shown, query.image[:, None])

    @property
    def path_kind(self) -> str:
        """How `path` gets from end to end."""
        return "a straight line in the latent space"

    def _ends(self, query: Query) -> tuple[Tensor, Tensor]:
        """Return the latents of the images and of the exemplars, (M, D) both."""
        image, target = query.image, query.target
        if self.model.has_encoder:
            start = self.model.encode(image)
        else:
            start = invert(
                self.model, image, classifier=self.classifier, steps=self.invert_steps, seed=query.seed
            ).latent

        def objective(value: Tensor, rows: Tensor) -> Tensor:
            made = self.model.decode(value)
            loss = F.cross_entropy(self.classifier.logits(made).float(), target[rows], reduction="none")
            return l1_each(made, image[rows]) + self.class_weight * loss

        def done(value: Tensor, rows: Tensor) -> Tensor:
            sure = surely(self.classifier, self.model.decode(value), target[rows], self.confidence)
            return sure | ~query.asked[rows]

        return start, minimise(objective, start, steps=self.steps, rate=self.learning_rate, done=done).value
