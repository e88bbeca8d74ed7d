"""A generative model on 1 x 16 x 16 images that can be worked by hand, and a classifier with convolutions for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.generative import GenerativeModel
from tiny_core import SHAPE, bright_data

LATENT = 6


class Plane(GenerativeModel):
    """Image = sigmoid(A z + b): the first number of z brightens the left half, the others draw what they like.

    The encoder is the exact inverse on such images; the critic is a linear layer. A conditional one ends in the class's
    brightness: normal noise gives the others.
    """

    name = "plane"

    def __init__(self, *, encoder: bool = True, critic: bool = True, classes: tuple[str, ...] | None = None,
                 shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> None:  # fmt: skip
        self.image_shape, self.latent_size, self.classes = shape, LATENT, classes
        self.has_encoder, self.has_critic = encoder, critic
        generator = torch.Generator().manual_seed(seed)
        pixels = shape[0] * shape[1] * shape[2]
        self.out, self.critic = nn.Linear(LATENT, pixels), nn.Linear(pixels, 1)
        with torch.no_grad():
            weight = 0.5 * torch.randn(pixels, LATENT, generator=generator)
            left = torch.zeros(shape)
            left[..., : shape[2] // 2] = 1
            weight[:, 1:] *= 1 - left.flatten()[:, None]
            weight[:, 0] = left.flatten()
            self.out.weight.copy_(weight)
            self.out.bias.zero_()
            self.critic.weight.copy_(torch.randn(1, pixels, generator=generator) / 16)
            self.critic.bias.zero_()

    def modules(self) -> list[nn.Module]:
        return [self.out, self.critic]

    def _decode(self, latent: Tensor) -> Tensor:
        return self.out(latent).sigmoid().view(-1, *self.image_shape)

    def _encode(self, image: Tensor) -> Tensor:
        if not self.has_encoder:
            return super()._encode(image)
        inside = image.flatten(1).clamp(0.02, 0.98)
        return torch.logit(inside) @ torch.linalg.pinv(self.out.weight).T

    def _criticise(self, image: Tensor) -> Tensor:
        return self.critic(image.flatten(1))[:, 0] if self.has_critic else super()._criticise(image)

    @property
    def normal_size(self) -> int:
        return LATENT if self.classes is None else LATENT - 1

    def _from_normal(self, normal: Tensor, target: Tensor) -> Tensor:
        return normal if self.classes is None else torch.cat([2.0 * target[:, None] - 1, normal], 1)


class Blocks(nn.Module):
    """Two convolutions with ReLU and pooling, then a linear layer for K classes by the brightness of the left half."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.relu, self.pool, self.out = nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Linear(64, classes)
        with torch.no_grad():
            for layer in (self.conv1, self.conv2):
                layer.weight.copy_(0.2 * torch.randn(layer.weight.shape, generator=generator))
                layer.weight[0] = 0
                layer.weight[0, 0, 1, 1] = 1  # the first channel hands the image on
                layer.bias.zero_()
            weight = torch.zeros(classes, 4, 4, 4)
            levels = torch.linspace(0, 1, classes)  # class k is for brightness near its level
            weight[:, 0, :, :2] = 40 * levels.view(-1, 1, 1) / 8
            self.out.weight.copy_(weight.flatten(1))
            self.out.bias.copy_(-20 * levels**2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(image)))
        x = self.pool(self.relu(self.conv2(x)))
        return self.out(x.flatten(1))


def blocks_classifier(*names: str) -> Classifier:
    names = names or ("dark", "bright")
    return Classifier(Blocks(len(names)), list(names), SHAPE, device="cpu")


def levels_data(count: int = 24, levels: int = 3) -> MemoryDataset:
    """Images whose left half is dark, grey or bright, in turn, 8 bit."""
    image = bright_data(count).sample.image.clone()
    label = torch.arange(count) % levels
    image[..., :8] = (20 + 200 * label // (levels - 1)).to(torch.uint8).view(-1, 1, 1, 1)
    return MemoryDataset(Sample(image=image, label=label), [str(k) for k in range(levels)], name="levels")
