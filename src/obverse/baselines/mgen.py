"""MGen (Dabkowski and Gal 2017, "Real Time Image Saliency for Black Box Classifiers"): masks in one forward pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from obverse.baselines.common import blur
from obverse.batches import Step
from obverse.data.augment import Augment
from obverse.data.base import Sample
from obverse.explainer import Answer, LearnedExplainer, Query
from obverse.losses import class_loss, mask_smoothness
from obverse.modules import networks_from
from obverse.networks.blocks import glorot
from obverse.settings import check_positive
from obverse.training import Moves

SMALL, POWER = 1e-4, 0.3


@dataclass(eq=False, kw_only=True)
class MGen(LearnedExplainer):
    """A network that marks what must be taken away for the decision to go, and what alone lets it stay.

    With mask m in [0, 1] (1: evidence) and a substitute A of the image, it minimises, after their equation for L(M),
    smoothness * TV(m) + area * mean(m) - preserve * log f(x m + A (1 - m)) + destroy * D(f(x (1 - m) + A m)), f the
    posterior of the decision. In training A is either the blurred image or a random grey with noise, each for half of
    the images, so that the network can hide in neither. The counterfactual is the image with its evidence replaced.

    From SyCE (supplement E.2 and the released digits network): no class input, masks at half the resolution as
    |p| / (|p| + |q|) of two channels, enlarged and filtered.

    Deviations: the decision takes the label's place; the four weights are for small images, since those of the source
    belong to 224 pixels and a mask of sums; D(f) is -log(1 - f), since the printed f ^ 0.3 is flat where a classifier is
    sure, so that all masks vanish on digits; bilinear instead of nearest enlarging; the blur's kernel is normalised
    (the released evaluation's is not, so that it nearly blackens).

    Args:
        smoothness: weight of the mean squared difference of neighbouring cells.
        area: weight of the share that is marked.
        preserve: weight of the cross entropy of what is marked, alone.
        destroy: weight of the posterior without what is marked.
        destruction: D, "log" or the printed "power".
        blurred: share of the training images whose substitute is a blur.
        sigma: of the blur, in pixels.
        deviation: of the noise around the random grey.
        filter: sigma of the mask's filter, in pixels; 0 leaves it unfiltered.
        substitute: what takes the place of the evidence in an answer: a "blur", the image's mean as a "constant", or
            "noise" around it.
        width: channels at full resolution.
        learning_rate: Adam's.
        augment: random geometry of the training images.
        seed: of the initial weights.

    Raises:
        ValueError: numbers that are not positive, or a share outside [0, 1].
    """

    name: ClassVar[str] = "mgen"

    smoothness: float = 1.0
    area: float = 2.0
    preserve: float = 0.3
    destroy: float = 1.0
    destruction: Literal["log", "power"] = "log"
    blurred: float = 0.5
    sigma: float = 5.0
    deviation: float = 0.1
    filter: float = 1.0
    substitute: Literal["blur", "constant", "noise"] = "blur"
    width: int = 16
    learning_rate: float = 1e-3
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "sigma", "width", "learning_rate")
        if not 0 <= self.blurred <= 1:
            raise ValueError(f"blurred: expected a share in [0, 1], got {self.blurred:g}; 0.5 is the published one")
        self.networks = networks_from(
            lambda: {"masks": _Masks(self.classifier.image_shape[0], self.width)}, seed=self.seed, device=self.device
        )

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam."""
        return {"masks": Adam(self.networks.parameters(), self.learning_rate)}

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the one move."""
        image = self.augment(batch.image, step.uniform(batch.image.new_empty(len(batch), 6)))
        chance = step.uniform(image.new_empty(len(image), 1, 1, 1))
        grey = step.uniform(image[:, :, :1, :1]) + self.deviation * step.normal(image)
        substitute = torch.where(chance < self.blurred, blur(image, self.sigma), grey.clamp(0, 1))
        yield "masks", self.losses(image, substitute)

    def losses(self, image: Tensor, substitute: Tensor) -> dict[str, Tensor]:
        """Return the terms of L(M) for (N, C, H, W) images and what replaces them."""
        cells = self.networks["masks"](image)
        mask, decided = self.enlarged(cells, image), self.classifier.decide(image)
        kept = image * mask + substitute * (1 - mask)
        without = image * (1 - mask) + substitute * mask
        logits = self.classifier.logits(torch.cat([kept, without])).float().chunk(2)
        others = logits[1].scatter(1, decided[:, None], -torch.inf).logsumexp(1)
        gone = logits[1].logsumexp(1) - others  # -log(1 - f)
        if self.destruction == "power":
            gone = (logits[1].softmax(1).gather(1, decided[:, None]) + SMALL) ** POWER
        return {
            "smoothness": 2 * self.smoothness * mask_smoothness(cells),
            "area": self.area * mask.mean(),
            "preserve": self.preserve * class_loss(logits[0], decided),
            "destroy": self.destroy * gone.mean(),
        }

    def enlarged(self, cells: Tensor, image: Tensor) -> Tensor:
        """Return (N, 1, H, W) in [0, 1], float32."""
        large = F.interpolate(cells.float(), size=image.shape[-2:], mode="bilinear", align_corners=False)
        return blur(large, self.filter) if self.filter > 0 else large

    def answer(self, query: Query) -> Answer:
        """Return the mask as attribution, and the image with what it marks replaced."""
        mask = torch.cat([self.enlarged(self.networks["masks"](part), part) for part in query.image.split(64)])
        mask = torch.where(query.asked.view(-1, 1, 1, 1), mask, 0)
        substitute = self._substitute(query)
        return Answer(counterfactual=query.image * (1 - mask) + substitute * mask, attribution=mask)

    def _substitute(self, query: Query) -> Tensor:
        if self.substitute == "blur":
            return blur(query.image, self.sigma)
        mean = query.image.mean((2, 3), keepdim=True).expand_as(query.image)
        if self.substitute == "constant":
            return mean
        return (mean + self.deviation * query.normal(*query.image.shape[1:])).clamp(0, 1)


class _Masks(nn.Module):
    """A U-Net of four levels, (N, C, H, W) to (N, 1, H / 2, W / 2) in [0, 1]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 2 * width, 4 * width)
        self.down = nn.ModuleList(
            _convolutions(a, b) for a, b in zip((channels, *widths[:-1]), widths)
        )  # fmt: skip
        self.up = nn.ModuleList(
            _convolutions(a + b, b) for a, b in ((widths[3], widths[2]), (widths[2], widths[1]))
        )
        self.out = nn.Conv2d(widths[1], 2, 1)
        glorot(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return the masks."""
        x, levels = image, list[Tensor]()
        for down in self.down:
            x = down(F.max_pool2d(x, 2, ceil_mode=True) if levels else x)
            levels.append(x)
        for up, skip in zip(self.up, (levels[2], levels[1])):
            x = up(torch.cat([F.interpolate(x, skip.shape[-2:]), skip], 1))
        marked, left = self.out(x).float().abs().add(SMALL).chunk(2, 1)
        share: Tensor = marked / (marked + left)
        return share


def _convolutions(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU(), nn.Conv2d(outer, outer, 3, padding=1), nn.ReLU()
    )
