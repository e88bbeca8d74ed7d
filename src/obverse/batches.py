"""What each step of a run gets: its rows of the data, and its noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from obverse.data.base import Dataset, MemoryDataset, Sample

if TYPE_CHECKING:
    from obverse.training import Trainable


@dataclass
class Step:
    """What a training step may know of the run.

    Args:
        index, total: the step's number, from 0, and how many there are.
        seed: of the run; noise depends on seed and index only, not on how many processes there are.
        rows: images in this process's batch.
        blocks: groups in the batch (equal numbers of each, sorted).
        rank, world: this process and how many there are.
        device: where noise is wanted.
    """

    index: int
    total: int
    seed: int
    rows: int
    blocks: int = 1
    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.index)

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal noise of the shape of `like`, whose first axis is the batch or one group of it."""
        return self._draw(torch.randn, like.shape)

    def uniform(self, like: Tensor) -> Tensor:
        """Return uniform noise in [0, 1) of the shape of `like`, whose first axis is the batch or one group of it."""
        return self._draw(torch.rand, like.shape)

    def falling(self, share: float, *, to: float = 0.1) -> float:
        """Return what a learning rate is multiplied by that falls linearly to `to` over the last `share` of the run."""
        left = (self.total - self.index) / max(self.total * share, 1)
        return min(1.0, to + (1 - to) * left)

    def _draw(self, draw: Any, shape: torch.Size) -> Tensor:
        # the whole batch's noise, then this process's rows of every group
        rows, blocks = shape[0], self.blocks if shape[0] == self.rows else 1
        each = rows // blocks
        noise = draw(blocks, each * self.world, *shape[1:], generator=self.generator)
        mine: Tensor = noise[:, self.rank * each : (self.rank + 1) * each].reshape(shape)
        return mine.to(self.device)


class Batches:
    """Which images each step gets: a function of (seed, step) alone, so that nothing must be saved to resume.

    Every group is walked in a fresh random order an epoch; each process takes its rows of every group. With weights
    the rows are drawn instead, with replacement.
    """

    def __init__(
        self, trainable: Trainable, data: Dataset | None, batch_size: int, seed: int, rank: int, world: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.seed, self.rank, self.device = seed, rank, device
        self.data = data.to(device) if isinstance(data, MemoryDataset) else data
        if data is not None and len(data) == 0:
            raise ValueError("data: expected at least one image, got none; check the folder and the split")
        weights = None if data is None else trainable.weights(data)
        self._ladder = None if weights is None or data is None else _ladder(weights, len(data), trainable)
        groups = None if data is None or weights is not None else trainable.groups(data)
        rows = torch.arange(0 if data is None else len(data)) if groups is None else groups.cpu()
        if groups is None:
            self.members = [rows]
        else:
            self.members = [(rows == g).nonzero().flatten() for g in rows.unique().tolist() if g >= 0]
            if not self.members:
                raise ValueError(f"data: {type(trainable).__name__} can use none of these {len(rows)} images; "
                                 "check the labels and what the classifier decides")  # fmt: skip
        self.blocks = len(self.members)
        least = self.blocks * world
        if batch_size < least:
            raise ValueError(f"batch_size: expected at least {least} ({self.blocks} groups x {world} processes), got "
                             f"{batch_size}; pass {least} or more")  # fmt: skip
        batch_size -= batch_size % least
        self.size = batch_size
        self.rows = batch_size // world
        self._each = batch_size // self.blocks  # of one group, over all processes
        self._mine = self._each // world
        self._orders: dict[int, tuple[int, Tensor]] = {}

    def __call__(self, index: int) -> Sample:
        """Return this process's rows of step `index`, sorted by group."""
        if self.data is None:
            return Sample(image=torch.empty(0, device=self.device))
        if self._ladder is not None:
            rows = self._drawn(self._ladder, index)
        else:
            rows = torch.cat([self._rows(group, index) for group in range(self.blocks)])
        batch = self.data[rows].to(self.device)
        image = batch.image.contiguous(memory_format=torch.channels_last)
        return Sample(**{**vars(batch), "image": image})

    def _drawn(self, ladder: Tensor, index: int) -> Tensor:
        # the whole batch's draws, then this process's; another seed than the step's noise, which would repeat them
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + index) * 1_009 + 1_008)
        draws = torch.rand(self._each, generator=generator, dtype=torch.float64) * ladder[-1]
        rows = torch.searchsorted(ladder, draws[self.rank * self._mine :][: self._mine], right=True)
        return rows.clamp(max=len(ladder) - 1)  # a draw next to 1 may be rounded up

    def _rows(self, group: int, index: int) -> Tensor:
        members, start = self.members[group], index * self._each + self.rank * self._mine
        positions = torch.arange(start, start + self._mine)
        epochs = positions // len(members)
        rows = torch.empty_like(positions)
        for epoch in epochs.unique().tolist():
            here = epochs == epoch
            rows[here] = members[self._order(group, epoch)[positions[here] % len(members)]]
        return rows

    def _order(self, group: int, epoch: int) -> Tensor:
        cached = self._orders.get(group)
        if cached is None or cached[0] != epoch:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) * 1_009 + group)
            cached = self._orders[group] = (epoch, torch.randperm(len(self.members[group]), generator=generator))
        return cached[1]


def _ladder(weights: Tensor, count: int, trainable: Trainable) -> Tensor:
    """Return the running sum of the weights, on which a uniform number finds its row."""
    weights = weights.detach().cpu().double()
    if weights.shape != (count,) or not bool((weights >= 0).all()) or not 0 < float(weights.sum()) < torch.inf:
        raise ValueError(f"weights: expected {count} finite numbers of at least 0, not all 0, got "
                         f"{tuple(weights.shape)} from {type(trainable).__name__}.weights; return how often each image is "
                         "drawn")  # fmt: skip
    return weights.cumsum(0)
