"""What explainers share that translate images from one decision of a classifier to another (SyCE's family)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.data.augment import Augment
from obverse.data.base import Dataset
from obverse.explainer import LearnedExplainer
from obverse.losses import fake_loss, gradient_penalty, real_loss
from obverse.modules import networks_from
from obverse.networks.blocks import check_sides
from obverse.settings import check_positive
from obverse.translation.domains import decisions


@dataclass(eq=False, kw_only=True)
class Translation(LearnedExplainer):
    """Generators against critics that know the decisions of a classifier; equation numbers as in `methods.syce`.

    Args:
        cycle: lambda of the cycle distance, eq. 13.
        adversarial_class: lambda of the class of the counterfactual, eq. 9.
        cycle_class: lambda of the class of the cycled image, eq. 14.
        realism: lambda of the critic's opinion, eq. S21.
        penalty: lambda of the gradient penalty of the critics, eq. S22.
        penalty_every: steps between two gradient penalties, which then weigh that much more.
        generator_rate, critic_rate: Adam's learning rates.
        momentum: Adam's betas, of both players.
        decay: share of the run, at its end, over which the rates fall linearly to a tenth (the paper divides at plateaus).
        width, depth: of the generators (see `UNet`).
        refine: convolutions after the last skip (see `UNet`).
        residual: whether generators predict the change; not the paper's, but learns small findings far sooner.
        critic_width, critic_levels: see `Critic`.
        augment: random geometry of the training images; targets are decided anew on the augmented batch.
        seed: of the initial weights.
    """

    cycle: float = 2.0
    adversarial_class: float = 0.2
    cycle_class: float = 0.005
    realism: float = 0.25
    penalty: float = 1.0
    penalty_every: int = 1
    generator_rate: float = 1e-4
    critic_rate: float = 2e-4
    momentum: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.3
    width: int = 16
    depth: int = 2
    refine: bool = False
    residual: bool = False
    critic_width: int = 32
    critic_levels: int = 3
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "penalty_every")
        self.networks = networks_from(self._networks, seed=self.seed, device=self.device)
        for network in self.networks.values():
            check_sides(network, self.classifier.image_shape)

    @abstractmethod
    def _networks(self) -> dict[str, nn.Module]:
        """Return new generators and critics, whose names begin so."""

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam for the generators and one for the critics."""

        def own(kind: str) -> list[nn.Parameter]:
            return [p for name, part in self.networks.items() if name.startswith(kind) for p in part.parameters()]

        return {
            "generators": Adam(own("generator"), self.generator_rate, self.momentum),
            "critics": Adam(own("critic"), self.critic_rate, self.momentum),
        }

    def rate(self, step: Step) -> float:
        """Return 1, falling linearly to 0.1 over the last `decay` of the run."""
        return step.falling(self.decay)

    def groups(self, data: Dataset) -> Tensor:
        """Return what the classifier decides; fixed once, on images that are not augmented.

        Raises:
            ValueError: a class that is never decided.
        """
        return decisions(data, self.classifier, self.name)

    def _criticised(
        self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, step: Step
    ) -> dict[str, Tensor]:
        """Return the losses of a critic on (N, C, H, W) real images and as many fakes of the same class."""
        logits = critic(torch.cat([real, fake]))
        losses = {"real": real_loss(logits[: len(real)]), "fake": fake_loss(logits[len(real) :])}  # eq. 10
        if self.penalty > 0 and step.index % self.penalty_every == 0:
            weight, share = self.penalty * self.penalty_every, step.uniform(fake[:, :1, :1, :1])
            losses["penalty"] = weight * gradient_penalty(critic, real, fake, share)  # eq. S22
        return losses
