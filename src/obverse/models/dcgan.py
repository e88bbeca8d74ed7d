"""A DCGAN with encoder (C3LT section 4.1; Radford et al.), trained together: a latent space that images are found in.

The paper's generators are a published DCGAN (digits) and a progressive GAN (fashion), with encoders trained afterwards in
a way that it does not tell. Deviations, because the error of the encoder bounds every picture the model makes of an image:
- Generator and encoder are trained together, so that the generator learns to make the very images of the set.
- Latents lie on a sphere, where noise, codes and what a search finds have one norm, and the walks of C3LT, which keep it,
  never leave it.
- This one model takes the progressive GAN's place too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.base import Dataset, Sample
from obverse.explanation import NotApplicable
from obverse.generative import LearnedModel
from obverse.losses import fake_loss, real_loss, real_penalty
from obverse.models.scores import reconstruction, sample_distance
from obverse.networks.dcgan import Generator, Pyramid, on_sphere
from obverse.settings import check_least, check_positive
from obverse.training import Moves


@dataclass(eq=False, kw_only=True)
class DCGAN(LearnedModel):
    """Generator, encoder and critic for images of 28 to 128 px, grey or colour.

    Args:
        image_shape: (C, H, W).
        classifier: whose features reconstructions keep; None leaves that term out.
        latent_size: numbers in a latent.
        width: channels at full resolution of all three networks; each halving of the sides doubles them, up to 8 times.
        image: weight of the mean absolute error of reconstructions.
        features: weight of the error of the classifier's features, relative to their mean size.
        latent: weight of the error of the latents that the encoder finds for samples.
        realism: weight of the critic's opinion; 0 leaves the critic out.
        rebuilt: share of the reconstructions that the critic judges beside the samples.
        penalty: weight of the critic's squared gradient at real images.
        penalty_every: steps between two penalties, which then weigh that much more.
        learning_rate, critic_rate: Adam's.
        momentum: Adam's betas, of both players.
        decay: share of the run, at its end, over which the rates fall linearly to a fiftieth.
        seed: of the initial weights.

    Raises:
        NotApplicable: a classifier without features.
        ValueError: impossible numbers, sides that are not 4 to 8 times a power of 2, or a classifier of other images.
    """

    name: ClassVar[str] = "gan"
    has_encoder = True

    classifier: Classifier | None = field(kw_only=False, default=None)
    latent_size: int = 128
    width: int = 16
    image: float = 30.0
    features: float = 0.3
    latent: float = 1.0
    realism: float = 1.0
    rebuilt: float = 0.25
    penalty: float = 0.05
    penalty_every: int = 8
    learning_rate: float = 1e-3
    critic_rate: float = 1e-3
    momentum: tuple[float, float] = (0.5, 0.99)
    decay: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "penalty_every", "width", "latent_size", "learning_rate", "critic_rate")
        check_least(self, 0, "image", "features", "latent", "realism", "rebuilt", "penalty", "decay")
        self.has_critic = self.realism > 0  # otherwise nothing trains it
        self.watch(self.classifier)
        if self.classifier is not None and self.features and not self.classifier.has_features:
            raise NotApplicable("classifier: it has no linear layer whose features reconstructions could keep; pass features=0, "
                                "or no classifier")  # fmt: skip
        self.place(lambda: {
            "generator": Generator(self.image_shape, self.latent_size, width=self.width),
            "encoder": Pyramid(self.image_shape, self.latent_size, width=self.width),
            "critic": Pyramid(self.image_shape, 1, width=self.width),
        }, seed=self.seed, device=None if self.classifier is None else self.classifier.device)  # fmt: skip

    def _from_normal(self, normal: Tensor, target: Tensor) -> Tensor:
        return on_sphere(normal)

    def _decode(self, latent: Tensor) -> Tensor:
        image: Tensor = self.networks["generator"](on_sphere(latent))
        return image

    def _encode(self, image: Tensor) -> Tensor:
        return on_sphere(self.networks["encoder"](image).float())

    def _criticise(self, image: Tensor) -> Tensor:
        if not self.has_critic:
            return super()._criticise(image)
        logit: Tensor = self.networks["critic"](image).squeeze(1)
        return logit

    def project(self, latent: Tensor) -> Tensor:
        """Return the latents (N, D) brought onto the sphere; their images stay the same."""
        return on_sphere(latent)

    def groups(self, data: Dataset) -> Tensor | None:
        """Return nothing: images are drawn as they come.

        Raises:
            ValueError: it was loaded without the classifier whose features its training keeps.
        """
        if self.watched is not None and self.classifier is None and self.features:
            raise ValueError("classifier: this gan was trained with one, whose features reconstructions keep, and now has none; "
                             "to train it further make it with DCGAN(image_shape, classifier), or set features = 0")  # fmt: skip
        return super().groups(data)

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam for generator and encoder and one for the critic."""
        model = [*self.networks["generator"].parameters(), *self.networks["encoder"].parameters()]
        players: dict[str, Optimizer] = {"model": Adam(model, self.learning_rate, self.momentum)}
        if self.realism:
            players["critic"] = Adam(self.networks["critic"].parameters(), self.critic_rate, self.momentum)
        return players

    def rate(self, step: Step) -> float:
        """Return 1, falling linearly to 0.02 over the last `decay` of the run."""
        return step.falling(self.decay, to=0.02)

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the critic's move, then that of generator and encoder, on the same images."""
        image = batch.image
        latent = on_sphere(step.normal(image.new_empty(len(image), self.latent_size)))
        sample, again = self._decode(torch.cat([latent, self._encode(image)])).chunk(2)
        fake = torch.cat([sample, again[: int(self.rebuilt * len(image))]])
        if self.realism:
            logit = self._criticise(torch.cat([image, fake.detach()]))
            losses = {"real": real_loss(logit[: len(image)]), "fake": fake_loss(logit[len(image) :])}
            if self.penalty and step.index % self.penalty_every == 0:
                losses["penalty"] = self.penalty * self.penalty_every * real_penalty(self._criticise, image)
            yield "critic", losses
        losses = {"image": self.image * (again - image).abs().mean()}
        if self.latent:
            losses["latent"] = self.latent * (self._encode(sample) - latent).abs().mean()
        if self.realism:
            losses["realism"] = self.realism * real_loss(self._criticise(fake))
        if self.classifier is not None and self.features:
            seen = self.classifier.features(image).detach()
            away = (self.classifier.features(again) - seen).abs().mean()
            losses["features"] = self.features * away / seen.abs().mean().clamp_min(1e-8)
        yield "model", losses

    def validate(self, data: Dataset) -> float:
        """Return the mean absolute error of reconstructions plus the energy distance of samples to images."""
        return reconstruction(self, data).error + (sample_distance(self, data) if self.realism else 0.0)

    def pictures(self, data: Dataset) -> Tensor | None:
        """Return rows of 8 images, their reconstructions, and samples."""
        return self.sheet(data)

    def describe(self) -> dict[str, Any]:
        """Return the settings, with the fingerprint of the classifier whose features were kept."""
        return super().describe() | {"classifier": self.watched}
