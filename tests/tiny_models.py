"""Generators whose every answer is known."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from obverse.classifier import Classifier
from obverse.models.adapters import Adapter
from tiny_core import SHAPE, bright_module

SIZE = 8


def bright_classifier() -> Classifier:
    return Classifier(bright_module(), ["dark", "bright"], SHAPE, device="cpu")


class Linear(nn.Module):
    """16 x 16 images that are tanh of a linear function of 8 numbers, in [-1, 1]; the first is the left half's brightness."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        basis = torch.randn(256, SIZE, generator=torch.Generator().manual_seed(seed))
        if seed == 0:
            basis[:, 0] = (torch.arange(256) % 16 < 8).float()
        basis = torch.linalg.qr(basis)[0]
        self.basis = nn.Parameter(basis)

    def forward(self, latent: Tensor) -> Tensor:
        return torch.tanh(latent @ self.basis.T * 4).view(-1, *SHAPE)


class Inverse(nn.Module):
    """The exact inverse of `Linear`."""

    def __init__(self, generator: Linear) -> None:
        super().__init__()
        self.basis = nn.Parameter(generator.basis.detach().clone())

    def forward(self, image: Tensor) -> Tensor:
        return torch.atanh(image.flatten(1).clamp(-1 + 1e-6, 1 - 1e-6)) @ self.basis / 4


class Mean(nn.Module):
    """A critic: the sigmoid of the mean pixel."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(image.mean((1, 2, 3)))[:, None]


def linear_model(encoder: bool = True, seed: int = 0) -> Adapter:
    """The known generator in [0, 1], with its inverse if wanted."""
    generator = Linear(seed)
    return Adapter(generator, image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1),
                   encoder=Inverse(generator) if encoder else None)  # fmt: skip


class Port(nn.Module):
    """The interface of the public PyTorch port: config, embeddings without bias, generator(latent, truncation), forward."""

    def __init__(self, classes: int = 5, noise: int = 6) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_classes=classes, z_dim=noise, output_dim=16)
        self.embeddings = nn.Linear(classes, noise, bias=False)
        self.generator = PortGenerator(2 * noise)

    def forward(self, z, class_label, truncation):
        assert 0 < truncation <= 1
        return self.generator(torch.cat((z, self.embeddings(class_label)), dim=1), truncation)


class PortGenerator(nn.Module):
    """Spectral norm, and statistics kept for each of several truncations and interpolated, as the port has them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gen_z = nn.utils.spectral_norm(nn.Linear(size, 4 * 8 * 8), eps=1e-4)
        self.register_buffer("running_means", torch.linspace(-0.2, 0.2, 51)[:, None].repeat(1, 4))
        self.scale = nn.utils.spectral_norm(nn.Linear(size, 4, bias=False), eps=1e-4)
        self.conv_to_rgb = nn.utils.spectral_norm(nn.Conv2d(4, 3, 3, padding=1), eps=1e-4)

    def forward(self, cond_vector, truncation):
        z = self.gen_z(cond_vector).view(-1, 4, 8, 8)
        mean = self.running_means[int(truncation / 0.02)]
        z = (z - mean.view(1, -1, 1, 1)) * (1 + self.scale(cond_vector))[:, :, None, None]
        return torch.tanh(self.conv_to_rgb(nn.functional.interpolate(torch.relu(z), scale_factor=2)))
