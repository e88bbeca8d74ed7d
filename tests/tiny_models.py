"""Generators whose every answer is known."""

from __future__ import annotations

import math
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
    """A small BigGAN-deep behind the interface of the public PyTorch port: config, embeddings without bias, and generator."""

    def __init__(self, classes: int = 5, noise: int = 6) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_classes=classes, z_dim=noise, output_dim=16)
        self.embeddings = nn.Linear(classes, noise, bias=False)
        nn.init.normal_(self.embeddings.weight, std=2)  # classes that differ
        self.generator = PortGenerator(2 * noise)
        with torch.no_grad():  # spectral norms settle
            for _ in range(10):
                self.generator(torch.randn(4, 2 * noise, generator=torch.Generator().manual_seed(0)), 1.0)

    def forward(self, z, class_label, truncation):
        assert 0 < truncation <= 1
        return self.generator(torch.cat((z, self.embeddings(class_label)), dim=1), truncation)


def normed(layer: nn.Module) -> nn.Module:
    return nn.utils.spectral_norm(layer, eps=1e-4)


class PortGenerator(nn.Module):
    """From 4 px by residual blocks, with attention before the last, to 16 px in [-1, 1]; every layer is told the latent."""

    def __init__(self, size: int, width: int = 4) -> None:
        super().__init__()
        self.width = width
        self.gen_z = normed(nn.Linear(size, 4 * width * 16))
        self.layers = nn.ModuleList([
            PortBlock(4 * width, 4 * width, size, up=False), PortBlock(4 * width, 2 * width, size, up=True),
            PortAttention(2 * width), PortBlock(2 * width, width, size, up=True),
        ])  # fmt: skip
        self.norm = PortNorm(width, None)
        self.conv_to_rgb = normed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, cond_vector, truncation):
        x = self.gen_z(cond_vector).view(-1, 4, 4, 4 * self.width).permute(0, 3, 1, 2)
        for layer in self.layers:
            x = layer(x, cond_vector, truncation)
        x = torch.relu(self.norm(x, None, truncation))
        return torch.tanh(self.conv_to_rgb(x)[:, :3])


class PortNorm(nn.Module):
    """Batch norm by statistics kept at 51 truncations and mixed between two; with a latent, gain and offset come from it."""

    def __init__(self, channels: int, size: int | None, stats: int = 51) -> None:
        super().__init__()
        self.register_buffer("means", torch.linspace(-0.2, 0.2, stats)[:, None].repeat(1, channels))
        self.register_buffer("variances", torch.linspace(1.2, 0.8, stats)[:, None].repeat(1, channels))
        self.gain, self.offset = (None if size is None else normed(nn.Linear(size, channels, bias=False)) for _ in range(2))

    def forward(self, x, latent, truncation):
        share, low = math.modf(truncation * (len(self.means) - 1))
        high = min(int(low) + 1, len(self.means) - 1)
        mean, variance = (kept[int(low)].lerp(kept[high], share)[:, None, None] for kept in (self.means, self.variances))
        x = (x - mean) * torch.rsqrt(variance + 1e-4)
        return x if latent is None else x * (1 + self.gain(latent))[:, :, None, None] + self.offset(latent)[:, :, None, None]


class PortBlock(nn.Module):
    """Norm, ReLU and convolution four times (1, 3, 3, 1 wide, by a quarter of the channels), and a shortcut that drops some."""

    def __init__(self, inner: int, outer: int, size: int, *, up: bool) -> None:
        super().__init__()
        middle = inner // 4
        self.outer, self.up = outer, up
        self.norms = nn.ModuleList(PortNorm(channels, size) for channels in (inner, middle, middle, middle))
        self.convs = nn.ModuleList([
            normed(nn.Conv2d(inner, middle, 1)), normed(nn.Conv2d(middle, middle, 3, padding=1)),
            normed(nn.Conv2d(middle, middle, 3, padding=1)), normed(nn.Conv2d(middle, outer, 1)),
        ])  # fmt: skip

    def forward(self, x, latent, truncation):
        shortcut = x[:, : self.outer]
        for index, (norm, conv) in enumerate(zip(self.norms, self.convs)):
            x = torch.relu(norm(x, latent, truncation))
            x = conv(nn.functional.interpolate(x, scale_factor=2) if self.up and index == 1 else x)
        return x + (nn.functional.interpolate(shortcut, scale_factor=2) if self.up else shortcut)


class PortAttention(nn.Module):
    """Each place looks at all others, at half the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key = (normed(nn.Conv2d(channels, channels // 8, 1, bias=False)) for _ in range(2))
        self.value, self.out = (normed(nn.Conv2d(channels, channels, 1, bias=False)) for _ in range(2))
        self.gamma = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, x, latent, truncation):
        key, value = (nn.functional.max_pool2d(part(x), 2).flatten(2) for part in (self.key, self.value))
        look = torch.softmax(self.query(x).flatten(2).transpose(1, 2) @ key, -1)
        return x + self.gamma * self.out((value @ look.transpose(1, 2)).view_as(x))
