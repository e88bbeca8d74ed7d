"""CXPlain (Schwab and Karlen 2019): a network that learns how much worse the classifier does without each part."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from obverse.baselines.common import blur
from obverse.batches import Step
from obverse.data.base import Dataset, Sample
from obverse.explainer import Answer, LearnedExplainer, Query
from obverse.modules import networks_from
from obverse.settings import check_positive
from obverse.training import Moves

SMALL = 1e-7
MOST_NUMBERS = 2**26
"""Targets are remembered up to this many numbers, 256 MiB."""


@dataclass(eq=False, kw_only=True)
class CXPlain(LearnedExplainer):
    """Learned importance of the cells of a grid (their eqs 1 to 5): one forward pass, no gradient of the classifier.

    The target of a cell is the increase of the classifier's cross entropy when the cell is covered, at least a little
    above 0, and the targets of an image add up to 1; the network's softmax over cells is fitted to them by KL
    divergence.

    Deviations: the error is taken against the classifier's decision, not the label, since the decision is what is
    explained; the network is a small one at the grid's resolution after two at the image's, instead of a U-Net; there
    is no ensemble for uncertainty.

    Args:
        cell: side of a covered cell in pixels: the granularity; the classifier sees every training image
            (H / cell) (W / cell) times, once in a training: what it said is remembered.
        fill: what covers: black, as published, or a blur of the image.
        sigma: of the blur, in pixels.
        width: channels of the network.
        learning_rate: Adam's.
        seed: of the initial weights.

    Raises:
        ValueError: a cell larger than half the image, or numbers that are not positive.
    """

    name: ClassVar[str] = "cxplain"
    needs_gradient: ClassVar[bool] = False

    cell: int = 4
    fill: Literal["black", "blur"] = "black"
    sigma: float = 5.0
    width: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    _remembered: dict[bytes, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "sigma", "width", "learning_rate")
        channels, height, width = self.classifier.image_shape
        if not 1 <= self.cell <= min(height, width) // 2:
            raise ValueError(f"cell: expected 1 to {min(height, width) // 2} pixels for images of {height} x {width}, "
                             f"got {self.cell}; 4 is the default")  # fmt: skip
        self.grid = (math.ceil(height / self.cell), math.ceil(width / self.cell))
        self.networks = networks_from(
            lambda: {"importance": _Importance(channels, self.width, self.grid)}, seed=self.seed, device=self.device
        )

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam."""
        return {"importance": Adam(self.networks.parameters(), self.learning_rate)}

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the one move: KL divergence of the targets from the network's softmax (eq. 5)."""
        wanted = self._remembered_targets(batch.image)
        yield "importance", {"divergence": self._divergence(wanted, self.networks["importance"](batch.image)).mean()}

    def answer(self, query: Query) -> Answer:
        """Return the importance of each pixel's cell; an image's cells add up to 1."""
        share = self.networks["importance"](query.image).float().softmax(1).view(-1, 1, *self.grid)
        return Answer(attribution=_spread(share, self.cell, query.image))

    def validate(self, data: Dataset) -> float:
        """Return the mean divergence."""
        total = 0.0
        for batch in data.batches(64, self.device):
            with torch.no_grad():
                scores = self.networks["importance"](batch.image)
            total += float(self._divergence(self._remembered_targets(batch.image), scores).sum())
        return total / len(data)

    def targets(self, image: Tensor) -> Tensor:
        """Return (N, cells) how much the cross entropy rises without each cell, as shares of 1 (eqs 2 to 4)."""
        cover = torch.zeros_like(image) if self.fill == "black" else blur(image, self.sigma)
        with torch.no_grad():
            before = self.classifier.posterior(image).clamp_min(SMALL).log()
            decided = before.argmax(1, keepdim=True)
            rises = []
            for k in range(self.grid[0] * self.grid[1]):
                only = torch.zeros(1, 1, *self.grid, device=image.device)
                only.view(-1)[k] = 1
                without = torch.where(_spread(only, self.cell, image) > 0, cover, image)
                after = self.classifier.posterior(without).clamp_min(SMALL).log()
                rises.append((before - after).gather(1, decided).squeeze(1).clamp_min(SMALL))
        rise = torch.stack(rises, 1)
        return rise / rise.sum(1, keepdim=True)

    def _remembered_targets(self, image: Tensor) -> Tensor:
        """Return the targets, of images that were not seen before from the classifier."""
        keys = [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in image.float().cpu().numpy()]
        new = [row for row, key in enumerate(keys) if key not in self._remembered]
        found = dict(zip([keys[row] for row in new], self.targets(image[new]).cpu(), strict=True)) if new else {}
        if (len(self._remembered) + len(found)) * math.prod(self.grid) <= MOST_NUMBERS:
            self._remembered |= found
        return torch.stack([found[key] if key in found else self._remembered[key] for key in keys]).to(image.device)

    def _divergence(self, wanted: Tensor, scores: Tensor) -> Tensor:
        return F.kl_div(scores.float().log_softmax(1), wanted, reduction="none").sum(1)


class _Importance(nn.Module):
    """(N, C, H, W) to (N, cells): two convolutions at the image's resolution, four at the grid's, ever wider views."""

    def __init__(self, channels: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.fine = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        )
        coarse: list[nn.Module] = []
        for dilation in (1, 2, 4):
            coarse += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        self.coarse = nn.Sequential(*coarse, nn.Conv2d(width, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores of the cells."""
        scores: Tensor = self.coarse(F.adaptive_avg_pool2d(self.fine(image), self.grid))
        return scores.flatten(1)


def _spread(cells: Tensor, side: int, image: Tensor) -> Tensor:
    """Return (N, 1, H, W): every pixel the value of its cell."""
    large = cells.repeat_interleave(side, 2).repeat_interleave(side, 3)
    return large[..., : image.shape[-2], : image.shape[-1]]
