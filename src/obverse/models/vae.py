"""A variational autoencoder (Kingma and Welling): the model of xGEM, and one for images that a GAN is too much for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.data.base import Dataset, Sample
from obverse.generative import LearnedModel
from obverse.networks.dcgan import Generator, Pyramid
from obverse.settings import check_least, check_positive
from obverse.training import Moves


@dataclass(eq=False, kw_only=True)
class VAE(LearnedModel):
    """Encoder to the mean and variance of a latent, decoder to pixels, each a probability (Bernoulli); it has no critic.

    Deviation: the networks are those of the DCGAN here, where the xGEM of Progressive Exaggeration took a public VAE.

    Args:
        image_shape: (C, H, W).
        latent_size: numbers in a latent.
        width: channels at full resolution; each halving of the sides doubles them, up to 8 times.
        divergence: weight of the divergence from the prior; 1 is the evidence bound.
        learning_rate: Adam's, falling linearly to a fiftieth over the second half of the run.
        seed: of the initial weights.

    Raises:
        ValueError: impossible numbers, or sides that are not 4 to 8 times a power of 2.
    """

    name: ClassVar[str] = "vae"
    has_encoder = True

    latent_size: int = 32
    width: int = 16
    divergence: float = 1.0
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "width", "latent_size", "learning_rate")
        check_least(self, 0, "divergence")
        self.place(lambda: {
            "decoder": Generator(self.image_shape, self.latent_size, width=self.width),
            "encoder": Pyramid(self.image_shape, 2 * self.latent_size, width=self.width),
        }, seed=self.seed)  # fmt: skip

    def _decode(self, latent: Tensor) -> Tensor:
        image: Tensor = self.networks["decoder"](latent)
        return image

    def _encode(self, image: Tensor) -> Tensor:
        return self._posterior(image)[0]

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam."""
        return {"model": Adam(self.networks.parameters(), self.learning_rate)}

    def rate(self, step: Step) -> float:
        """Return 1, falling linearly to 0.02 over the second half of the run."""
        return step.falling(0.5, to=0.02)

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the two terms of the evidence bound, in nats a pixel."""
        mean, logarithm = self._posterior(batch.image)
        latent = mean + (0.5 * logarithm).exp() * step.normal(mean)
        yield "model", self._bound(batch.image, latent, mean, logarithm)

    def validate(self, data: Dataset) -> float:
        """Return the bound at the mean latents, in nats a pixel."""
        total = 0.0
        for batch in data.batches(256, self.device):
            with torch.no_grad():
                mean, logarithm = self._posterior(batch.image)
                terms = self._bound(batch.image, mean, mean, logarithm)
            total += float(torch.stack(list(terms.values())).sum()) * len(batch)
        return total / len(data)

    def pictures(self, data: Dataset) -> Tensor | None:
        """Return rows of 8 images, their reconstructions, and samples."""
        return self.sheet(data)

    def _posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the logarithm of the variance of each image's latent, (N, D) both."""
        mean, logarithm = self.networks["encoder"](image).float().chunk(2, 1)
        return mean, logarithm.clamp(-12, 8)

    def _bound(self, image: Tensor, latent: Tensor, mean: Tensor, logarithm: Tensor) -> dict[str, Tensor]:
        pixels = image[0].numel()
        made = self._decode(latent).float().clamp(1e-5, 1 - 1e-5)
        error = -(image * made.log() + (1 - image) * (1 - made).log()).mean()  # torch's own refuses autocast on CUDA
        divergence = 0.5 * (mean.square() + logarithm.exp() - 1 - logarithm).sum(1).mean()
        return {"image": error, "divergence": self.divergence * divergence / pixels}
