"""VA-GAN (Baumgartner et al. 2018, "Visual Feature Attribution using Wasserstein GANs"), which CX-GAN is compared with.

It explains a *difference between two groups*: the smallest map that, added to a diseased image, makes it look healthy to
a critic. No classifier takes part in the training; it says which images are diseased, and validation asks it which weights
to keep. There is no generator for the other way: an image that is decided healthy is returned as it is, and not valid.

As its authors' code has it, on the grey scale from -1 to 1: the made image is y = tanh(x + M(x)) and the map |y - x|.

Deviations:
- The gradient penalty is one norm an image; the code takes one a column of pixels.
- Larger is more real for the critic, as everywhere here; the code has the other sign.
- A generator's move sees the images of the critic's last move, not images of its own.
- The map network is our U-Net, with batch norm as published.
"""

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
from obverse.losses import gradient_penalty
from obverse.modules import networks_from
from obverse.networks.blocks import check_sides
from obverse.networks.critics import PooledCritic
from obverse.networks.translators import Norm, UNet
from obverse.training import Moves
from obverse.translation.domains import Domains, check_two_classes, domain_of_each
from obverse.translation.validation import validity_and_change


@dataclass(eq=False, kw_only=True)
class VAGAN(LearnedExplainer):
    """Visual attribution by a Wasserstein GAN, tanh(x + M(x)) of a diseased image; no classifier takes part in the training.

    A step of `fit` is one move of the critic; the generator moves after `critic_moves` of them, but after `many_moves` for
    its first `first_moves` moves and for every `retune_every`-th: a thousand of its moves are 8,230 steps.

    Args:
        domains: whether a domain is a label (two groups) or a decision of the classifier.
        diseased: the class with the finding, by index or name.
        change: weight of the mean absolute map, on the scale from -1 to 1.
        penalty: weight of the critic's gradient penalty.
        critic_moves, many_moves, first_moves, retune_every: the schedule, as above.
        learning_rate, momentum: Adam's, of both players.
        width, depth, refine, norm: of the map network (see `UNet`).
        critic_width, critic_levels: see `PooledCritic`.
        augment: random geometry of the training images.
        seed: of the initial weights.

    Raises:
        ValueError: a classifier of more than two classes, or a schedule without moves.
    """

    name: ClassVar[str] = "vagan"
    needs_gradient: ClassVar[bool] = False

    domains: Domains = "label"
    diseased: str | int = 1
    change: float = 100.0
    penalty: float = 10.0
    critic_moves: int = 5
    many_moves: int = 100
    first_moves: int = 25
    retune_every: int = 100
    learning_rate: float = 1e-4
    momentum: tuple[float, float] = (0.0, 0.9)
    width: int = 16
    depth: int = 3
    refine: bool = True
    norm: Norm = "batch"
    critic_width: int = 16
    critic_levels: int = 4
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_two_classes(self.classifier, self.name)
        for name in ("critic_moves", "many_moves", "retune_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}; 5, 100 and 100 are published")
        self._positive = self.classifier.index(self.diseased)
        channels = self.classifier.image_shape[0]
        self.networks = networks_from(lambda: {
            "map": UNet(channels, width=self.width, depth=self.depth, norm=self.norm, refine=self.refine, residual=True),
            "critic": PooledCritic(channels, width=self.critic_width, levels=self.critic_levels),
        }, seed=self.seed, device=self.device)  # fmt: skip
        check_sides(self.networks["map"], self.classifier.image_shape)

    def players(self) -> dict[str, Optimizer]:
        """Return an Adam each for the map network and the critic."""
        return {name: Adam(self.networks[name].parameters(), self.learning_rate, self.momentum) for name in ("map", "critic")}

    def groups(self, data: Dataset) -> Tensor:
        """Return the domain of each image.

        Raises:
            ValueError: more than two classes, no labels, or an empty domain.
        """
        return domain_of_each(data, self.classifier, self.domains, self.name)

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield a move of the critic and, where the schedule says so, one of the map network."""
        image = self.augment(batch.image, step.uniform(batch.image.new_empty(len(batch), 6)))
        real = (2 * image - 1).chunk(2)
        diseased, healthy = real[self._positive], real[1 - self._positive]
        moves, critic = self.generator_moves(step.index), self.networks["critic"]
        with torch.set_grad_enabled(moves):
            made = self._made(diseased)
        shown = made.detach()
        yield "critic", {
            "gap": critic(shown).mean() - critic(healthy).mean(),  # the Wasserstein distance, negative
            "penalty": self.penalty * gradient_penalty(critic, healthy, shown, step.uniform(shown[:, :1, :1, :1])),
        }
        if moves:
            yield "map", {
                "realism": -critic(made).mean(),
                "change": self.change * (made - diseased).abs().mean(),
            }

    def generator_moves(self, index: int) -> bool:
        """Say whether the map network moves after the critic's move number `index`, from 0."""
        done, move = 0, 0
        while done <= index:
            often = move < self.first_moves or move % self.retune_every == 0
            done += self.many_moves if often else self.critic_moves
            move += 1
        return done == index + 1

    def _made(self, image: Tensor) -> Tensor:
        """Return tanh(x + M(x)), for images from -1 to 1."""
        return (image + cast(UNet, self.networks["map"]).raw(image)).tanh()

    def answer(self, query: Query) -> Answer:
        """Return diseased images made healthy; others stay."""
        made = query.image.clone()
        for part in query.rows(query.asked & (query.source == self._positive)):
            made[part] = (self._made(2 * query.image[part] - 1) + 1) / 2
        return Answer(counterfactual=made)

    def validate(self, data: Dataset) -> float:
        """Return 1 - validity + mean L1 over the images that are decided diseased; lower is better.

        Raises:
            ValueError: no image is decided diseased.
        """
        return validity_and_change(self, data, self._positive)
