"""Translation between two groups with a cycle: what CycleGAN and CX-GAN share.

They explain a *difference between two groups* of images: what a healthy image has that a diseased one lacks. No
classifier takes part in the training unless `classifier_weight` > 0. It says which way an image is to be taken, and
validation asks it which weights to keep; a black box is enough.

Domain i holds the images labelled i; generator i takes an image of domain i to the other one, critic i knows domain i.
Equation numbers are CX-GAN's; `methods.cxgan` lists the deviations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.data.augment import Augment
from obverse.data.base import Dataset, Sample
from obverse.explainer import Answer, LearnedExplainer, Query
from obverse.explanation import NotApplicable
from obverse.losses import (
    class_loss,
    fake_loss,
    real_loss,
    real_penalty,
    shared_change,
    soft_l1,
    squared_fake,
    squared_real,
)
from obverse.modules import networks_from
from obverse.networks.blocks import check_sides, clip
from obverse.networks.critics import Critic
from obverse.networks.pool import ImagePool
from obverse.networks.translators import Norm, UNet
from obverse.settings import check_positive
from obverse.training import Moves
from obverse.translation.domains import Domains, check_two_classes, domain_of_each


@dataclass(eq=False, kw_only=True)
class Cycle(LearnedExplainer):
    """Two generators and two critics for two groups of images; what CycleGAN and both forms of CX-GAN share.

    Args:
        domains: whether a domain is a label (two groups) or a decision of the classifier.
        cycle: lambda of the cycle distance, eqs 2 and 10.
        identity: lambda of leaving images of the other domain alone.
        soft: difference below which these two distances become quadratic; 0 is the plain L1, as printed.
        classifier_weight: lambda of the class that the classifier gives to a translated image; 0 leaves it out.
        classifier_loss: "cross_entropy" of the logits (SyCE eq. 9), or "squared" error of the posterior (GANterfactual).
        adversarial: "least_squares", or "log" as printed (the generators' in its form that does not saturate).
        penalty: lambda of the squared gradient norm of the critics at real images, on the grey scale from -1 to 1. At
            128 pixels twice as much kept a map at nothing for 750 steps.
        penalty_every: steps between two penalties, which then weigh that much more.
        pool: generated images that a critic is shown again; 0 switches it off.
        learning_rate: Adam's, of both players.
        momentum: Adam's betas, of both players.
        decay: share of a phase, at its end, over which the rate falls linearly to a tenth.
        width, depth, refine, residual, norm, slope: of the generators (see `UNet`).
        noise, grid: numbers that choose among the answers of a generator, and their layout (see `UNet`).
        diversity: lambda of what two answers to an image have in common, where there is noise.
        critic_width, critic_levels, critic_hidden: see `Critic`.
        shrink: side of the blocks of pixels that the networks work on as channels; 2 costs a quarter, for large images.
        augment: random geometry of the training images.
        seed: of the initial weights.

    Raises:
        ValueError: a classifier of more than two classes, or a negative `soft`.
        NotApplicable: `classifier_weight` > 0 with a classifier that has no gradient.
    """

    needs_gradient: ClassVar[bool] = False

    domains: Domains = "label"
    cycle: float = 10.0
    identity: float = 5.0
    soft: float = 0.005
    classifier_weight: float = 0.0
    classifier_loss: Literal["cross_entropy", "squared"] = "cross_entropy"
    adversarial: Literal["least_squares", "log"] = "least_squares"
    penalty: float = 0.03
    penalty_every: int = 4
    pool: int = 50
    learning_rate: float = 5e-4
    momentum: tuple[float, float] = (0.0, 0.99)
    decay: float = 0.3
    width: int = 8
    depth: int = 3
    refine: bool = True
    residual: bool = True
    norm: Norm = "none"
    slope: float = 0.1
    noise: int = 0
    grid: bool = False
    diversity: float = 0.0
    critic_width: int = 16
    critic_levels: int = 3
    critic_hidden: int = 64
    shrink: int = 1
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_two_classes(self.classifier, self.name)
        check_positive(self, "penalty_every")
        if self.soft < 0:
            raise ValueError(f"soft: expected a difference of at least 0, got {self.soft:g}; 0 is the plain L1 distance")
        if self.classifier_weight > 0 and not self.classifier.has_gradient:
            raise NotApplicable(f"classifier_weight: {self.classifier_weight:g} needs the classifier's gradient, which a "
                                "black box does not have; leave it at 0")  # fmt: skip
        self.networks = networks_from(self._networks, seed=self.seed, device=self.device)
        for network in self.networks.values():
            check_sides(network, self.classifier.image_shape)

    @property
    def many_answers(self) -> bool:  # type: ignore[override]
        """Whether noise chooses among answers."""
        return self.noise > 0

    def _networks(self) -> dict[str, nn.Module]:
        shape, networks = self.classifier.image_shape, dict[str, nn.Module]()
        for i in range(2):
            networks[f"generator_{i}"] = self._generator(self._noise_of(i))
            networks[f"critic_{i}"] = self._new_critic()
            networks[f"pool_{i}"] = ImagePool(self.pool, shape)
        return networks

    def _generator(self, noise: int) -> UNet:
        network = UNet(
            self.classifier.image_shape[0], width=self.width, depth=self.depth, norm=self.norm, refine=self.refine,
            residual=self.residual, noise=noise, grid=self.grid, slope=self.slope,
            shrink=self.shrink,
        )  # fmt: skip
        if self.residual:  # nearly the identity: from exact zeros the first step would move the last layer only
            nn.init.normal_(network.out.weight, std=1e-3)
        return network

    def _new_critic(self) -> Critic:
        return Critic(
            self.classifier.image_shape, width=self.critic_width, levels=self.critic_levels, shrink=self.shrink,
            hidden=self.critic_hidden,
        )  # fmt: skip

    def _noise_of(self, i: int) -> int:
        return self.noise

    def _cycle_of(self, i: int) -> float:
        return self.cycle

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam for both generators and one for both critics."""
        return {f"{kind}s": self._adam(f"{kind}_0", f"{kind}_1") for kind in ("generator", "critic")}

    def _adam(self, *names: str) -> Adam:
        own = [parameter for name in names for parameter in self.networks[name].parameters()]
        return Adam(own, self.learning_rate, self.momentum)

    def rate(self, step: Step) -> float:
        """Return 1, falling linearly to 0.1 over the last `decay` of the run."""
        return step.falling(self.decay)

    def groups(self, data: Dataset) -> Tensor:
        """Return the domain of each image.

        Raises:
            ValueError: more than two classes, no labels, or an empty domain.
        """
        return domain_of_each(data, self.classifier, self.domains, self.name)

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the generators' move, then the critics'."""
        yield from self._cycle_step(self._real(batch, step), step)

    def _real(self, batch: Sample, step: Step) -> list[Tensor]:
        image = self.augment(batch.image, step.uniform(batch.image.new_empty(len(batch), 6)))
        return list(image.chunk(2))

    def _cycle_step(self, real: list[Tensor], step: Step) -> Moves:
        fakes: list[Tensor] = []
        losses: dict[str, Tensor] = {}
        for i, x in enumerate(real):
            fake = self._translate(i, x, self._draw(i, x, step))
            fakes.append(fake)
            losses[f"realism_{i}"] = self._seems_real(self._judged(f"critic_{1 - i}", fake))  # eqs 3, 8
            if self._cycle_of(i) > 0:
                cycled = self._translate(1 - i, fake, None)  # by the middle of the noise, which diversity leaves alone
                losses[f"cycle_{i}"] = self._cycle_of(i) * soft_l1(cycled, x, self.soft)  # eqs 4, 9
            kept = self._translate(1 - i, x, self._draw(1 - i, x, step))
            losses[f"identity_{i}"] = self.identity * soft_l1(kept, x, self.soft)
            if self.classifier_weight > 0:
                losses[f"class_{i}"] = self.classifier_weight * self._class(fake, 1 - i)
            if self._noise_of(i) > 0 and self.diversity > 0:
                other = self._translate(i, x, self._draw(i, x, step))
                losses[f"diversity_{i}"] = self.diversity * shared_change(fake, other, x)
        yield "generators", losses
        yield "critics", {
            f"{name}_{i}": loss
            for i in range(2)  # generator 1 - i leads into domain i
            for name, loss in self._critic(f"critic_{i}", f"pool_{i}", real[i], fakes[1 - i], step).items()
        }

    def _translate(self, i: int, image: Tensor, noise: Tensor | None) -> Tensor:
        """Return images of domain i as domain 1 - i has them."""
        made: Tensor = self.networks[f"generator_{i}"](image, noise)
        return made

    def _draw(self, i: int, image: Tensor, step: Step) -> Tensor | None:
        count = self._noise_of(i)
        return step.uniform(image.new_empty(len(image), count)) if count else None

    def _seems_real(self, logit: Tensor) -> Tensor:
        return squared_real(logit) if self.adversarial == "least_squares" else real_loss(logit)

    def _seems_made(self, logit: Tensor) -> Tensor:
        return squared_fake(logit) if self.adversarial == "least_squares" else fake_loss(logit)

    def _judged(self, critic: str, image: Tensor) -> Tensor:
        logit: Tensor = self.networks[critic](2 * image - 1)
        return logit

    def _critic(self, critic: str, pool: str, real: Tensor, fake: Tensor, step: Step) -> dict[str, Tensor]:
        """Return the losses of a critic, which sees the history of generated images."""
        shown = self.networks[pool](fake, step.uniform(fake.new_empty(len(fake), 2)))
        logits = self._judged(critic, torch.cat([real, shown]))
        losses = {"real": self._seems_real(logits[: len(real)]), "fake": self._seems_made(logits[len(real) :])}  # eqs 3, 6, 8
        if self.penalty > 0 and step.index % self.penalty_every == 0:
            losses["penalty"] = self.penalty * self.penalty_every * real_penalty(self.networks[critic], 2 * real - 1)
        return losses

    def _class(self, image: Tensor, target: int) -> Tensor:
        logits = self.classifier.logits(clip(image))
        wanted = torch.full((len(image),), target, device=image.device)
        if self.classifier_loss == "cross_entropy":
            return class_loss(logits, wanted)  # SyCE eq. 9
        error = logits.float().softmax(1) - nn.functional.one_hot(wanted, 2)
        return error.square().mean()  # GANterfactual

    def answer(self, query: Query) -> Answer:
        """Return each image as the other domain has it, and how much was changed before clipping."""
        noise = torch.special.ndtr(query.normal(max(self.noise, 1)))  # uniform
        made = query.image.clone()
        for i in range(2):
            for part in query.rows(query.asked & (query.source == i)):
                made[part] = self._answer(i, query.image[part], noise[part] if self._noise_of(i) else None).float()
        attribution = (made - query.image).abs().mean(1, keepdim=True)
        return Answer(counterfactual=made.clamp(0, 1), attribution=attribution)

    def _answer(self, i: int, image: Tensor, noise: Tensor | None) -> Tensor:
        return self._translate(i, image, noise)
