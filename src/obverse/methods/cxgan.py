"""CX-GAN (Zia et al., "Counterfactual Explanation and Instance-Generation"), integrated and cascaded, built on CycleGAN.

One group has a finding: one domain is `diseased` (the paper's c+) and the other healthy (c-). Equation numbers are the
paper's.

Deviations from the paper:
- Least squares instead of logarithms in eqs 3, 6 and 8 (as the authors' code; "log" is the other choice).
- The second term of eq. 9 takes |xf + M(xf) - x-| with xf the translated healthy image: the printed x+ + M(xf) would add
  the map of one image to another.
- The identity term is not in the paper but in its code: nothing else asks for an empty map where there is no disease. It
  weighs 5, as in the cascade's first step there (1 for the integrated form); the networks have no normalisation, theirs have.
- The residual is on the diseased image, as printed; the published code has it on the healthy one.
- Cycle and identity distances are quadratic for differences well below 0.005. With the plain L1 the generator towards
  disease stayed at no change for all of 2750 steps at 128 px (see `soft_l1`).
- The critics work at full resolution before and between their strides and have a small penalty on the gradient at real
  images, both for maps as sharp as the lesion (at 0.5 it forbade to tell a blurred disc from a real one), and a layer of
  64 before the logit (see `Critic`). Adam 5e-4 (0, 0.99), not 2e-4 (0.5, 0.9); batches, not single images.
- The cycle is asked for from healthy to diseased and back only. A healthy image does not say where the finding was: asked
  to lead back to it, the map left a quarter of a lesion's contrast as a hint.
- The generator towards disease has noise laid over the image and a diversity term, so that one healthy image has several
  diseased counterparts. Without, it painted half a lesion wherever one may be, and the map removed that half too.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from obverse.batches import Step
from obverse.data.base import Dataset, Sample
from obverse.losses import l1_each
from obverse.networks.pool import ImagePool
from obverse.networks.translators import UNet
from obverse.training import Moves
from obverse.translation.cycle import Cycle
from obverse.translation.validation import validity_and_change


@dataclass(eq=False, kw_only=True)
class _Finding(Cycle):
    """One of the two groups has a finding, and the way to the other is a map; what both forms of CX-GAN share.

    Args:
        diseased: the class with the finding, by index or name.
        back: lambda of the cycle from diseased to healthy and back; 10 in the authors' code.
    """

    diseased: str | int = 1
    back: float = 0.0
    noise: int = 64
    grid: bool = True
    diversity: float = 1.0

    def __post_init__(self) -> None:
        self._positive = self.classifier.index(self.diseased)
        super().__post_init__()

    def _noise_of(self, i: int) -> int:
        return 0 if i == self._positive else self.noise

    def _cycle_of(self, i: int) -> float:
        return self.back if i == self._positive else self.cycle

    def validate(self, data: Dataset) -> float:
        """Return 1 - validity + mean |M(x)| over the images that are decided diseased.

        Of the others every draw of the noise would say something else, by more than maps still differ late in a training.

        Raises:
            ValueError: no image is decided diseased.
        """
        return validity_and_change(self, data, self._positive)


@dataclass(eq=False, kw_only=True)
class CXGAN(_Finding):
    """CX-GAN, integrated (eqs 8 to 10): a diseased x becomes x + M(x); no classifier takes part unless it is given a weight.

    It explains a difference between two groups, the class of an image only with `classifier_weight` > 0. Without, the
    classifier still says which way an image is taken and which weights are kept. The map is |M(x)|. Of eq. 9's two cycles
    the one from diseased to healthy and back is asked for only with `back` > 0. A healthy image is answered by the other
    generator, with other noise otherwise; a diseased one has one answer, however many are asked for. Hyperparameters: see
    the shared ones above.
    """

    name: ClassVar[str] = "cxgan"

    def _translate(self, i: int, image: Tensor, noise: Tensor | None) -> Tensor:
        if i != self._positive:
            return super()._translate(i, image, noise)
        return image + self._map(image)  # eq. 1: x+ + M(x+)

    def _map(self, image: Tensor) -> Tensor:
        return cast(UNet, self.networks[f"generator_{self._positive}"]).raw(image)


@dataclass(eq=False, kw_only=True)
class CXGANCascaded(_Finding):
    """CX-GAN, cascaded: CycleGAN, then a residual GAN on its pairs; no classifier takes part unless it is given a weight.

    It explains a difference between two groups, the class of an image only with `classifier_weight` > 0, which then counts in
    both phases. Without, the classifier still says which way an image is taken and which weights are kept. Phase one is eqs 2
    to 4, phase two eqs 5 to 7: the counterfactual of a diseased image is x + M(x), held to phase one's by L1 and to real
    healthy images by a critic of its own. The published code of phase two does neither. A healthy image is answered by phase
    one, whose cycle from diseased to healthy and back (eq. 4) is asked for only with `back` > 0.

    One `fit` runs both phases. Which one a step is in follows from its number and the number of all: a run that is made
    longer may go back to the first, and one that `max_minutes` stops in the first has no map and answers with phase one's
    images. Hyperparameters: see the shared ones above.

    Args:
        first: share of the steps in phase one.
        pair: lambda of eq. 7, whose value the paper leaves out; pix2pix's.
    """

    name: ClassVar[str] = "cxgan_cascaded"

    first: float = 0.7
    pair: float = 100.0

    def __post_init__(self) -> None:
        if not 0 < self.first < 1:
            raise ValueError(f"first: expected a share of the steps between 0 and 1, got {self.first:g}; 0.7 is the default")
        super().__post_init__()

    def _networks(self) -> dict[str, nn.Module]:
        shape, network = self.classifier.image_shape, self._generator(0)
        network.register_buffer("begun", torch.zeros(()))  # whether phase two has
        return super()._networks() | {
            "map": network,
            "map_critic": self._new_critic(),
            "map_pool": ImagePool(self.pool, shape),
        }

    def players(self) -> dict[str, Optimizer]:
        """Return the Adams of phase one, and one each for the residual generator and its critic."""
        return super().players() | {"map": self._adam("map"), "map_critic": self._adam("map_critic")}

    def _switch(self, step: Step) -> int:
        return min(max(round(self.first * step.total), 1), step.total - 1)

    def rate(self, step: Step) -> float:
        """Return 1, falling linearly to 0.1 over the last `decay` of each phase."""
        switch = self._switch(step)
        phase = (step.index, switch) if step.index < switch else (step.index - switch, step.total - switch)
        return dataclasses.replace(step, index=phase[0], total=phase[1]).falling(self.decay)

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the moves of the phase that this step is in."""
        real = self._real(batch, step)
        yield from self._cycle_step(real, step) if step.index < self._switch(step) else self._residual_step(real, step)

    def _residual_step(self, real: list[Tensor], step: Step) -> Moves:
        diseased, healthy = real[self._positive], real[1 - self._positive]
        cast(Tensor, self.networks["map"].begun).fill_(1)
        with torch.no_grad():
            pair = self._translate(self._positive, diseased, None)
        made = diseased + self._map(diseased)
        losses = {
            "pair": self.pair * l1_each(made, pair).mean(),  # eq. 5
            "realism": self._seems_real(self._judged("map_critic", made)),  # eq. 6
        }
        if self.classifier_weight > 0:
            losses["class"] = self.classifier_weight * self._class(made, 1 - self._positive)
        yield "map", losses
        yield "map_critic", self._critic("map_critic", "map_pool", healthy, made, step)  # eq. 6

    def validate(self, data: Dataset) -> float:
        """Return the score as above, and 2 more in phase one: it has no map, so its weights are never the best."""
        return super().validate(data) + 2 * (not self._begun)

    @property
    def _begun(self) -> bool:
        return bool(self.networks["map"].get_buffer("begun"))

    def _map(self, image: Tensor) -> Tensor:
        return cast(UNet, self.networks["map"]).raw(image)

    def _answer(self, i: int, image: Tensor, noise: Tensor | None) -> Tensor:
        if i == self._positive and self._begun:
            return image + self._map(image)  # eq. 1
        return self._translate(i, image, noise)
