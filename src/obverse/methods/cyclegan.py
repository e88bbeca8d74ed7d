"""CycleGAN, and GANterfactual by its settings; losses and training are `Cycle`'s, equation numbers there CX-GAN's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from obverse.translation.cycle import Cycle


@dataclass(eq=False, kw_only=True)
class CycleGAN(Cycle):
    """Unpaired translation between two groups (Zhu et al. 2017); no classifier takes part unless it is given a weight.

    It is also SyCE's "CyCE without classifier". With `classifier_weight` 1 and `identity` 1 it is GANterfactual (Mertes et
    al. 2022), whose classifier term is the squared error of the posterior. Hyperparameters: see the shared ones above.
    """

    name: ClassVar[str] = "cyclegan"

    classifier_loss: Literal["cross_entropy", "squared"] = "squared"
