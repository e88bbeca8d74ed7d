"""Latent integrated gradients (Dravid et al., medXGAN) as a map: the way from absent to present, attributed to pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from torch import Tensor

from obverse.baselines.common import check_same_classifier
from obverse.explainer import Answer, Explainer, Query, Target
from obverse.latent.gradients import Form
from obverse.methods.medxgan import MedXGAN


@dataclass(eq=False, kw_only=True)
class LatentGradients(Explainer):
    """Latent integrated gradients as a map (section 4.2, eq. 7): the magnitude of the sum over channels.

    The walk starts at the class that is asked for, the absent one if none is named and there is one; an image that is decided
    absent has nothing to be mapped, and is marked as not asked.

    Args:
        explainer: the medXGAN whose latents are walked through.
        form: "walk", whose sum is the difference of the posteriors, or "printed".
        steps: of the walk.

    Raises:
        TypeError: another explainer.
        ValueError: one for another classifier; when explaining: an image decided absent, for another class.
    """

    name: ClassVar[str] = "latent_gradients"

    explainer: Explainer = field(kw_only=False)
    form: Form = "walk"
    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.explainer, MedXGAN):
            raise TypeError(f"explainer: {self.name} walks through the latents of a medxgan, got {self.explainer.name}; for "
                            "others use integrated_gradients with baseline='counterfactual'")  # fmt: skip
        check_same_classifier(self.explainer, self.classifier, self.name)

    def answer(self, query: Query) -> Answer:
        """Return the map of the decided class, from the target."""
        model, rows = cast(MedXGAN, self.explainer), query.asked.nonzero().flatten()
        attribution = query.image.new_zeros(len(query.image), 1, *query.image.shape[2:])
        if len(rows):
            signed = model.latent_gradients(query.image[rows], form=self.form, steps=self.steps, target=query.target[rows],
                                            seed=query.seed)  # fmt: skip
            attribution[rows] = signed.sum(1, keepdim=True).abs()
        return Answer(attribution=attribution)

    def _target(self, target: Target, posterior: Tensor) -> Tensor:
        return super()._target(cast(MedXGAN, self.explainer).absent if target is None else target, posterior)

    def describe(self) -> dict[str, Any]:
        """Return the settings and those of the medXGAN."""
        return super().describe() | {"explainer": self.explainer.describe()}
