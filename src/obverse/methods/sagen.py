"""SAGen (Charachon et al. 2020, "Combining Similarity and Adversarial Learning to Generate Visual Explanation")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.data.augment import Augment
from obverse.data.base import Dataset, Sample
from obverse.explainer import Answer, LearnedExplainer, Query
from obverse.losses import class_loss, l1_each, l1_l2, weight_distance
from obverse.modules import networks_from
from obverse.networks.translators import Norm
from obverse.networks.two_headed import TwoHeaded
from obverse.training import Moves
from obverse.translation.domains import check_two_classes, decisions


@dataclass(eq=False, kw_only=True)
class SAGen(LearnedExplainer):
    """One network makes a similar image s(x) and an adversarial one a(x), both close to x; the map is |s(x) - a(x)|.

    The single generator with two last blocks that SyCE compares with, built anew from what SyCE's papers say of it: s(x)
    keeps the decision, a(x) loses it, both are held to x and to each other pixel by pixel, the two last blocks are kept
    alike, and no critic asks for realism. As in the released network, the generator is not told the decision.

    Deviations: the weights are ours, as SyCE's papers print none. Norm, distance, class terms and decay are as in `syce`.

    Args:
        similarity: lambda of the distance of the stable image to the image.
        proximity: lambda of the distance of the counterfactual to the image.
        closeness: lambda of the distance of the counterfactual to the stable image.
        adversarial_class: lambda of the class of the counterfactual.
        stable_class: lambda of the class of the stable image.
        likeness: lambda of the distance of the two last blocks' parameters.
        learning_rate: Adam's.
        decay: share of the run, at its end, over which the rate falls linearly to a tenth.
        width, depth, refine, residual, norm: of the generator (see `UNet`).
        augment: random geometry of the training images.
        seed: of the initial weights.

    Raises:
        ValueError: a classifier of more than two classes.
    """

    name: ClassVar[str] = "sagen"

    similarity: float = 10.0
    proximity: float = 2.0
    closeness: float = 2.0
    adversarial_class: float = 0.2
    stable_class: float = 0.01
    likeness: float = 100.0
    learning_rate: float = 1e-4
    decay: float = 0.3
    width: int = 16
    depth: int = 2
    refine: bool = False
    residual: bool = False
    norm: Norm = "affine"
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_two_classes(self.classifier, self.name)
        self.networks = networks_from(lambda: {"generator": TwoHeaded(
            self.classifier.image_shape[0], width=self.width, depth=self.depth, norm=self.norm, refine=self.refine,
            residual=self.residual,
        )}, seed=self.seed, device=self.device)  # fmt: skip

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam."""
        return {"generator": Adam(self.networks.parameters(), self.learning_rate)}

    def rate(self, step: Step) -> float:
        """Return 1, falling linearly to 0.1 over the last `decay` of the run."""
        return step.falling(self.decay)

    def groups(self, data: Dataset) -> Tensor:
        """Return what the classifier decides; fixed once, on images that are not augmented.

        Raises:
            ValueError: a class that is never decided.
        """
        return decisions(data, self.classifier, self.name)

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the one move."""
        image = self.augment(batch.image, step.uniform(batch.image.new_empty(len(batch), 6)))
        decided = self.classifier.decide(image)
        stable, adversary = self._made(image)
        logits = self.classifier.logits(torch.cat([stable, adversary])).chunk(2)
        yield "generator", {
            "similarity": self.similarity * l1_l2(image, stable),
            "proximity": self.proximity * l1_l2(image, adversary),
            "closeness": self.closeness * l1_l2(stable, adversary),
            "stable_class": self.stable_class * class_loss(logits[0], decided),
            "adversarial_class": self.adversarial_class * class_loss(logits[1], 1 - decided),
            "likeness": self.likeness * weight_distance(*cast(TwoHeaded, self.networks["generator"]).heads),
        }

    def _made(self, image: Tensor) -> tuple[Tensor, Tensor]:
        made: tuple[Tensor, Tensor] = self.networks["generator"](image)
        return made

    def answer(self, query: Query) -> Answer:
        """Return adversarial and similar image; what is decided as asked already stays."""
        stable, adversary = query.image.clone(), query.image.clone()
        for part in query.rows(query.asked):
            made = self._made(query.image[part])
            stable[part], adversary[part] = made[0].float(), made[1].float()
        return Answer(counterfactual=adversary, stable=stable, residual=l1_each(stable, query.image))
