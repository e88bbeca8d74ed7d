"""ExplainGAN (Samangouei et al. 2018), as C3LT implements it for comparison (supplement A)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.data.base import Sample
from obverse.explainer import Answer, Query
from obverse.losses import class_loss, fake_loss, mask_entropy, mask_smoothness, real_loss, real_penalty
from obverse.modules import networks_from
from obverse.networks.blocks import in_parts
from obverse.networks.dcgan import Generator, Pyramid
from obverse.settings import check_positive
from obverse.training import Moves
from obverse.translation.pairs import PairExplainer


@dataclass(eq=False, kw_only=True)
class ExplainGAN(PairExplainer):
    """A generator with three heads and two critics for each pair of classes, trained together and against the classifier.

    From the code of an image the heads make the image as it is, as it would be in the other class, and a mask; the
    counterfactual is the image with the masked region taken from the other class, and the mask is the attribution.
    Hyperparameters: see `PairExplainer` too.

    The weights are those of C3LT's supplement; networks, optimiser and norms are published in neither paper. Deviations:
    distances are means over pixels; the mask starts at the share `kappa`, since a count weighted 1000 would otherwise
    drown every other gradient of Adam for thousands of steps; critics have a penalty on their gradient.

    Args:
        realism: weight of the critics' opinion of counterfactuals, L_GAN.
        decision: weight of the classifier's, L_classifier.
        reconstruction: weight of the image made as it is, L_recon.
        consistency: weight of what is made of the other class outside the mask, L_const.
        count: weight of the masked share beyond `kappa`, L_count.
        smoothness, entropy: weights of the mask's, L_smoothness and L_entropy.
        kappa: share of pixels that may change freely: 0.05 for MNIST, 0.1 for Fashion-MNIST.
        penalty: weight of the critics' squared gradient at real images.
        penalty_every: steps between two penalties, which then weigh that much more.
        learning_rate: Adam's, of both players.
        latent_size: numbers in a code.
        width: channels at full resolution of all networks.
        seed: of the initial weights.

    Raises:
        ValueError: numbers that are not positive, a kappa outside (0, 1), or images whose sides do not halve to 4 to 8 px.
    """

    name: ClassVar[str] = "explaingan"

    realism: float = 1.0
    decision: float = 1.0
    reconstruction: float = 1.0
    consistency: float = 1.0
    count: float = 1000.0
    smoothness: float = 1.0
    entropy: float = 1.0
    kappa: float = 0.05
    penalty: float = 0.5
    penalty_every: int = 8
    learning_rate: float = 5e-4
    latent_size: int = 64
    width: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "learning_rate", "latent_size", "width", "penalty_every")
        if not 0 < self.kappa < 1:
            raise ValueError(f"kappa: expected a share in (0, 1), got {self.kappa:g}; C3LT takes 0.05 for digits")
        self.networks = networks_from(self._networks, seed=self.seed, device=self.device)

    def _networks(self) -> dict[str, nn.Module]:
        shape, networks = self.classifier.image_shape, dict[str, nn.Module]()
        for pair in range(len(self.pairs)):
            networks[f"encoder_{pair}"] = Pyramid(shape, self.latent_size, width=self.width, norm=True)
            networks[f"generator_{pair}"] = generator = Generator(
                (2 * shape[0] + 1, *shape[1:]), self.latent_size, width=self.width
            )
            generator.out.bias.data[-1] = math.log(self.kappa / (1 - self.kappa))  # type: ignore[union-attr]
            for side in range(2):
                networks[f"critic_{pair}_{side}"] = Pyramid(shape, 1, width=self.width, norm=False)
        return networks

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam for encoders and generators and one for all critics."""
        critics = [p for name, part in self.networks.items() if name.startswith("critic") for p in part.parameters()]
        others = [p for name, part in self.networks.items() if not name.startswith("critic") for p in part.parameters()]
        momentum = (0.5, 0.999)
        return {
            "generators": Adam(others, self.learning_rate, momentum),
            "critics": Adam(critics, self.learning_rate, momentum),
        }

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the move of encoders and generators, then the critics'; terms are means over all directions."""
        real = dict(zip(self.used, batch.image.chunk(len(self.used))))
        composites: list[Tensor] = []
        terms: list[dict[str, Tensor]] = []
        for way, (source, target) in enumerate(self.ways):
            own, other, mask = self.heads(real[source], way)
            composites.append(composite(real[source], other, mask))
            terms.append(self._terms(real[source], own, other, mask, composites[-1], way, target))
        yield "generators", {name: torch.stack([term[name] for term in terms]).mean() for name in terms[0]}
        losses: dict[str, Tensor] = {}
        for way, (_, target) in enumerate(self.ways):
            made = composites[way].detach()
            logit = self._opinion(way, torch.cat([real[target], made]))
            losses[f"real_{way}"] = real_loss(logit[: len(made)]) / len(self.ways)
            losses[f"fake_{way}"] = fake_loss(logit[len(made) :]) / len(self.ways)
            if self.penalty and step.index % self.penalty_every == 0:
                weight = self.penalty * self.penalty_every / len(self.ways)
                losses[f"penalty_{way}"] = weight * real_penalty(partial(self._opinion, way), real[target])
        yield "critics", losses

    def _terms(
        self, image: Tensor, own: Tensor, other: Tensor, mask: Tensor, made: Tensor, way: int, target: int
    ) -> dict[str, Tensor]:
        wanted = torch.full((len(image),), target, device=image.device)
        beyond = (mask.flatten(1).mean(1) - self.kappa).clamp_min(0).mean()
        return {
            "realism": self.realism * real_loss(self._opinion(way, made)),
            "decision": self.decision * class_loss(self.classifier.logits(made), wanted),
            "reconstruction": self.reconstruction * (own - image).square().mean(),
            "consistency": self.consistency * ((1 - mask) * (other - image)).square().mean(),
            "count": self.count * beyond,
            "smoothness": self.smoothness * mask_smoothness(mask),
            "entropy": self.entropy * mask_entropy(mask),
        }

    def answer(self, query: Query) -> Answer:
        """Return the composite, and the mask as attribution."""
        way = self.way(query)
        made, mask = query.image.clone(), torch.zeros_like(query.image[:, :1])
        for index in range(len(self.ways)):
            rows = way == index
            if bool(rows.any()):
                image = query.image[rows]
                heads = in_parts(partial(self._joined, index), image)
                _, other, mask[rows] = heads.split([image.shape[1], image.shape[1], 1], 1)
                made[rows] = composite(image, other, mask[rows])
        return Answer(counterfactual=made, attribution=mask)

    def heads(self, image: Tensor, way: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is made of images (N, C, H, W): in their own class, in the other class, and the mask (N, 1, H, W)."""
        pair, side = divmod(way, 2)
        made = self.networks[f"generator_{pair}"](self.networks[f"encoder_{pair}"](image)).float()
        first, second, mask = made.split([image.shape[1], image.shape[1], 1], 1)
        return (first, second, mask) if side == 0 else (second, first, mask)

    def _joined(self, way: int, image: Tensor) -> Tensor:
        return torch.cat(self.heads(image, way), 1)

    def _opinion(self, way: int, image: Tensor) -> Tensor:
        """Return (N,) logits of the critic of the class that a way leads to."""
        pair, side = divmod(way, 2)
        logit: Tensor = self.networks[f"critic_{pair}_{1 - side}"](image).squeeze(1)
        return logit


def composite(image: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """Return the image with the masked region taken from another."""
    return image * (1 - mask) + other * mask
