"""Small explainers, classifiers and data whose answers are known, for the tests of metrics and reports."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.explainer import Answer, Explainer, Query
from obverse.explanation import Explanation

SIZE = 12


class Corner(nn.Module):
    """Decides "lesion" where the upper left 4 x 4 corner is bright; one linear layer, one logit."""

    def __init__(self, level: float = 0.6, other: float = 0.0) -> None:
        super().__init__()
        self.head = nn.Linear(SIZE * SIZE, 1)
        weight = torch.full((SIZE, SIZE), other)
        weight[:4, :4] += 1.0
        with torch.no_grad():
            self.head.weight.copy_(weight.flatten()[None])
            self.head.bias.fill_(-16 * level - other * 0.4 * SIZE * SIZE)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.head(image.flatten(1))
        return out


def corner_classifier(level: float = 0.6, other: float = 0.0) -> Classifier:
    return Classifier(Corner(level, other), ["healthy", "lesion"], (1, SIZE, SIZE), device="cpu")


def corner_data(count: int = 24, seed: int = 0, split: str = "test", group: bool = False) -> MemoryDataset:
    """Noise around 0.4, every second image with a 4 x 4 square of 0.9; masks and twins are known."""
    noise = torch.randint(80, 125, (count, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(seed))
    label = torch.arange(count) % 2
    image, mask = noise.clone(), torch.zeros_like(noise)
    mask[label == 1, :, :4, :4] = 1
    image[mask == 1] = 230
    twin = noise.clone()
    sample = Sample(image=image.to(torch.uint8), label=label, mask=mask.to(torch.uint8), twin=twin.to(torch.uint8),
                    group=torch.arange(count) // 2 if group else None)  # fmt: skip
    return MemoryDataset(sample, ["healthy", "lesion"], name="corners", split=split)


@dataclass(eq=False, kw_only=True)
class Negative(Explainer):
    """Answers with 1 - image."""

    strength: float = 1.0
    name = "negative"
    needs_gradient = False

    def answer(self, query: Query) -> Answer:
        return Answer(counterfactual=(1 - self.strength) * query.image + self.strength * (1 - query.image))


@dataclass(eq=False, kw_only=True)
class Nothing(Explainer):
    """Answers with the image itself."""

    name = "nothing"
    needs_gradient = False

    def answer(self, query: Query) -> Answer:
        return Answer(counterfactual=query.image.clone())


@dataclass(eq=False, kw_only=True)
class Truth(Explainer):
    """Puts the square in or takes it out, and keeps a stable image."""

    data: MemoryDataset = field(kw_only=False)
    name = "truth"
    needs_gradient = False

    def answer(self, query: Query) -> Answer:
        everything = self.data[slice(None)]
        row = torch.cdist(query.image.flatten(1), everything.image.flatten(1)).argmin(1)
        assert everything.twin is not None
        other = everything.twin[row].clone()
        healthy = query.source == 0
        other[healthy, :, :4, :4] = 230 / 255
        exact = torch.zeros(len(other))
        return Answer(counterfactual=other, stable=query.image.clone(), residual=exact, represented=exact == 0)


@dataclass(eq=False, kw_only=True)
class MapOnly(Explainer):
    """Attributes, and makes no counterfactual."""

    name = "map only"
    needs_gradient = False

    def answer(self, query: Query) -> Answer:
        return Answer(attribution=query.image.mean(1, keepdim=True))


def explanation_of(
    image: Tensor, counterfactual: Tensor | None, *, classes: tuple[str, ...] = ("a", "b"),
    stable: Tensor | None = None, attribution: Tensor | None = None, source: Tensor | None = None,
    target: Tensor | None = None, after: Tensor | None = None, before: Tensor | None = None,
) -> Explanation:  # fmt: skip
    """An explanation made by hand; by default every image is decided 0, and every counterfactual 1."""
    n, k = len(image), len(classes)
    source = torch.zeros(n, dtype=torch.int64) if source is None else source
    target = torch.ones(n, dtype=torch.int64) if target is None else target
    before = nn.functional.one_hot(source, k).float() if before is None else before
    after = nn.functional.one_hot(target, k).float() if after is None else after
    difference = None if counterfactual is None else counterfactual - (image if stable is None else stable)
    if attribution is None:
        attribution = torch.zeros_like(image[:, :1]) if difference is None else difference.abs().mean(1, keepdim=True)
    return Explanation(
        method="by hand", classes=classes, image=image, source=source, target=target, counterfactual=counterfactual,
        stable=stable, attribution=attribution, difference=difference, query=torch.arange(n), posterior_before=before,
        posterior_after=after, requested=None, residual=None, valid=after.argmax(1) == target, asked=source != target,
        precision="float32", fingerprint="none",
    )  # fmt: skip
