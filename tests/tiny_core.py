"""A classifier on 1 x 16 x 16 images that can be worked by hand, images for it, and a two-player toy for `fit`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.training import Trainable

SHAPE = (1, 16, 16)


class Bright(nn.Module):
    """Logits [0, 12 (mean of the left half - 0.5)] through a linear layer, so that it has features."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(256, 2)
        weight = torch.zeros(16, 16)
        weight[:, :8] = 12 / 128
        with torch.no_grad():
            self.out.weight.copy_(torch.stack([torch.zeros(256), weight.flatten()]))
            self.out.bias.copy_(torch.tensor([0.0, -6.0]))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.out(image.flatten(1))
        return logits


def bright_module() -> Bright:
    return Bright()


def bright_classifier() -> Classifier:
    return Classifier(Bright(), ["dark", "bright"], SHAPE, device="cpu")


def bright_data(count: int, seed: int = 0) -> MemoryDataset:
    """The first half of the images has a dark left half (0.1 to 0.4), the second a bright one (0.6 to 0.9)."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (count, *SHAPE), generator=generator)
    level = torch.where(torch.arange(count) < count // 2, 25, 153).view(-1, 1, 1, 1)
    image[..., :8] = level + image[..., :8] * 76 // 255
    label = (torch.arange(count) >= count // 2).long()
    return MemoryDataset(Sample(image=image.to(torch.uint8), label=label), ["dark", "bright"], name="bright")


class Toy(Trainable):
    """A GAN in small: a generator with batch norm, a critic, an image pool in a buffer, noise, a rate that falls."""

    def __init__(self, kind: str = "adam", *, dtype: torch.dtype = torch.float32, statistics: bool = True,
                 groups: bool = True, falls: bool = False, second: bool = False) -> None:  # fmt: skip
        generator = torch.Generator().manual_seed(5)
        norm = nn.BatchNorm2d(4) if statistics else nn.Identity()
        self.networks = nn.ModuleDict({
            "generator": nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm, nn.Tanh(), nn.Conv2d(4, 1, 3, padding=1)),
            "critic": nn.Sequential(nn.Conv2d(1, 4, 4, stride=4), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(64, 1)),
            "rarely": nn.Linear(1, 1),
            "pool": Pool(),
        })  # fmt: skip
        for parameter in self.networks.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.1, generator=generator)
            elif parameter is not getattr(norm, "weight", None):
                nn.init.zeros_(parameter)
        self.networks.to(dtype)
        self.kind, self.dtype, self.statistics, self.by_label, self.falls = kind, dtype, statistics, groups, falls
        self.worlds: list[int] = []

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def players(self):
        make = {
            "adam": lambda p: torch.optim.Adam(p, 1e-2, betas=(0.5, 0.9)),
            "sgd": lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9),
            "adamw": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1),
        }[self.kind]
        net = self.networks
        return {
            "generator": make([*net["generator"].parameters(), *net["rarely"].parameters()]),
            "critic": make(net["critic"].parameters()),
        }

    def groups(self, data):
        return data.labels() if self.by_label else None

    def rate(self, step) -> float:
        return 1 - step.index / 100 if self.falls else 1.0

    def train_step(self, batch, step):
        self.worlds.append(step.world)
        image = batch.image.to(self.dtype)
        noise = step.normal(image).to(self.dtype)
        yield from moves(self.networks, image, noise, step.index, self.statistics)

    def validate(self, data) -> float:
        images = data[slice(None)].image.to(self.dtype)
        return float((self.networks["generator"](images) - images).square().mean())

    def describe(self):
        return {"method": "toy", "kind": self.kind, "classifier": "none"}


class Pool(nn.Module):
    """The last fakes, and how often they were changed."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(4, *SHAPE))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def moves(networks: nn.ModuleDict, image: Tensor, noise: Tensor, index: int, pool: bool):
    """The two moves of a step; the generator moves every second step, and "rarely" every tenth."""
    generator, critic, memory = networks["generator"], networks["critic"], networks["pool"]
    fake = generator(image + 0.1 * noise)
    seen = fake.detach()
    if pool:
        seen = torch.cat([seen, memory.images.clone()])
        memory.images.copy_(torch.cat([fake.detach(), memory.images])[:4])
        memory.count += 1
    yield "critic", {
        "real": nn.functional.softplus(-critic(image)).mean(),
        "fake": nn.functional.softplus(critic(seen)).mean(),
    }
    if index % 2 == 0:
        again = generator(image)
        losses = {
            "realism": nn.functional.softplus(-critic(again)).mean(),
            "same": 0.5 * (again - image).abs().mean(),
        }
        if index % 10 == 0:
            losses["rare"] = (networks["rarely"](image.mean((1, 2, 3)).view(-1, 1)) - 1).square().mean()
        yield "generator", losses
