"""Small networks of every kind that a baseline may meet, and images for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.explainer import Explainer, Query

SHAPE = (1, 12, 12)


def seeded(module: nn.Module, gain: float = 1.0, labels: bool = False) -> nn.Module:
    """Random weights; as many images on either side of every decision (of every label, if these are labels)."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = gain / max(parameter[0].numel(), 1) ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
        logits = module(images(200, 11))
        logits = logits - logits.mean(1, keepdim=True) if logits.shape[1] > 1 and not labels else logits
        last.bias -= logits.median(0).values
    return module


class Convolutions(nn.Module):
    """Two convolutions, pooling, a hidden layer; functional ReLUs."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3)
        self.hidden, self.out = nn.Linear(5 * 16, 8), nn.Linear(8, outputs)

    def forward(self, image: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(image)))), 2)
        out: Tensor = self.out(F.relu(self.hidden(x.flatten(1))))
        return out


class Reused(nn.Module):
    """One ReLU, in place, after every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3)
        self.relu = nn.ReLU(inplace=True)
        self.hidden, self.out = nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.relu(self.conv2(self.relu(self.conv1(image)))).mean((2, 3))
        out: Tensor = self.out(self.relu(self.hidden(x)))
        return out


class Average(nn.Module):
    """Convolution, ReLU, global average, one linear layer: the network that CAM is made for."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.ReLU())
        self.out = nn.Linear(6, outputs)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.out(self.features(image).mean((2, 3)))
        return out


class Tokens(nn.Module):
    """Patches of 4 x 4 as tokens and a class token, one block of attention; the head sees the class token alone."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.first = nn.Conv2d(1, 8, 4, stride=4), nn.Parameter(torch.zeros(1, 1, 8))
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last, self.out = nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1)
        seen = self.norm(x)
        x = self.last(x + self.attention(seen, seen, seen, need_weights=False)[0])
        out: Tensor = self.out(x[:, 0])
        return out


class InPlace(nn.Module):
    """Works in place on the image that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.rest = nn.ReLU(inplace=True), Average()

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.rest(self.first(image.sub_(0.25)))
        return out

    @property
    def out(self) -> nn.Linear:
        return self.rest.out


class Heads(nn.Module):
    """Attention over patches written out: queries and keys (N, heads, T, d) pass through modules of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(1, 8, 4, stride=4), nn.LayerNorm(8)
        self.query, self.key = nn.Identity(), nn.Identity()
        self.weights, self.out = nn.Dropout(0.0), nn.Linear(8, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.norm(self.patch(image).flatten(2).transpose(1, 2))
        heads = x.unflatten(2, (2, 4)).transpose(1, 2)
        weights = self.weights((self.query(heads) @ self.key(heads).mT).softmax(-1))
        out: Tensor = self.out((weights @ heads).transpose(1, 2).flatten(2).mean(1))
        return out


class ChannelsLast(nn.Module):
    """Cells (N, 3, 3, 8) as the last thing with places."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm, self.out = nn.Conv2d(1, 8, 4, stride=4), nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.out(self.norm(self.patch(image).permute(0, 2, 3, 1)).square().mean((1, 2)))
        return out


class Flattened(nn.Module):
    """Sixteen channels of 3 x 3 cells, then (N, 16, 9), which is no grid of 4 x 4 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.flat, self.out = nn.Conv2d(1, 16, 4, stride=4), nn.Flatten(2), nn.Linear(144, 2)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.out(self.flat(self.conv(image)).flatten(1))
        return out


class Shortcut(nn.Module):
    """The only convolution is bypassed by the image itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(144, 2)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.out((image + self.conv(image)).flatten(1))
        return out


def flat(outputs: int = 2) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 16), nn.Tanh(), nn.Linear(16, outputs))


def classifier(module: nn.Module | None = None, count: int = 2, gain: float = 3.0) -> Classifier:
    names = ["a", "b", "c", "d"][:count]
    return Classifier(seeded(module or Convolutions(), gain), names, SHAPE, device="cpu")


def black_box(module: nn.Module | None = None) -> Classifier:
    inner = seeded(module or Convolutions(), 3.0)
    return Classifier.black_box(lambda image: inner(image), ["a", "b"], SHAPE)


def images(count: int = 4, seed: int = 0) -> Tensor:
    """Noise of 256 levels, so that saving it changes nothing."""
    return torch.randint(0, 256, (count, *SHAPE), generator=torch.Generator().manual_seed(seed)) / 255


def data(count: int = 40, seed: int = 7) -> MemoryDataset:
    return MemoryDataset(Sample(image=images(count, seed), label=torch.arange(count) % 2), ["a", "b"], name="noise",
                         split="train")  # fmt: skip


def mixed(chosen: Classifier, count: int = 4, seed: int = 0) -> Tensor:
    """Images of both decisions, in turn."""
    many = images(400, seed)
    decided = chosen.decide(many)
    each = [many[decided == k][: count // 2] for k in range(2)]
    return torch.stack([image for pair in zip(*each) for image in pair])


def query(explainer: Explainer, image: Tensor, seed: int = 0) -> Query:
    posterior = explainer.classifier.posterior(image)
    order = posterior.argsort(dim=1, descending=True)
    return Query(image=image, source=order[:, 0], target=order[:, 1], answer=torch.zeros(len(image), dtype=torch.int64),
                 seed=seed)  # fmt: skip
