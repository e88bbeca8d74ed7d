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
from obverse.latent.inversion import Inversion, located
from obverse.latent.refinement import surely
from obverse.losses import l1_each
from obverse.search import minimise
from obverse.settings import check_least, check_positive, check_share


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
        ValueError: a model of other images, or impossible numbers.
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
        check_share(self, "confidence")
        check_least(self, 0, "class_weight")
        check_least(self, 1, "steps", "invert_steps")
        check_positive(self, "learning_rate")

    def answer(self, query: Query) -> Answer:
        """Return the exemplar of each image; what is decided as asked already stays, beside its own residual."""
        start, end = self._ends(query)
        asked = query.asked.view(-1, 1, 1, 1)
        return Answer(
            counterfactual=torch.where(asked, self.model.decode(end), query.image),
            stable=torch.where(asked, start.image, query.image),
            residual=start.residual,
            posterior_gap=start.posterior_gap,
            requested=torch.full_like(start.residual, self.confidence),
        )

    def frames(self, query: Query, count: int) -> Tensor:
        """Return images on the straight line between the two latents; what is decided as asked already stays."""
        found, end = self._ends(query)
        start = found.latent
        weight = torch.linspace(0, 1, count, device=start.device).view(1, -1, 1)
        between = start[:, None] * (1 - weight) + end[:, None] * weight
        shown = self.model.decode(between.flatten(0, 1)).view(len(start), count, *query.image.shape[1:])
        return torch.where(query.asked.view(-1, 1, 1, 1, 1), shown, query.image[:, None])

    @property
    def path_kind(self) -> str:
        """How `path` gets from end to end."""
        return "a straight line in the latent space"

    def _ends(self, query: Query) -> tuple[Inversion, Tensor]:
        """Return the latents of the images, and (M, D) those of the exemplars."""
        image, target = query.image, query.target
        steps = 0 if self.model.has_encoder else self.invert_steps
        start = located(self.model, image, self.classifier, steps=steps, seed=query.seed, before=query.before)

        def objective(value: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            made = self.model.decode(value)
            loss = F.cross_entropy(self.classifier.logits(made).float(), target[rows], reduction="none")
            return l1_each(made, image[rows]) + self.class_weight * loss, made

        def done(made: Tensor, rows: Tensor) -> Tensor:
            return surely(self.classifier, made, target[rows], self.confidence) | ~query.asked[rows]

        return start, minimise(objective, start.latent, steps=self.steps, rate=self.learning_rate, done=done).value
