"""Which answers a report shows: a seeded choice over all kinds, failures among them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from obverse.data.base import Sample
from obverse.explainer import Explainer
from obverse.explanation import Explanation, NotApplicable
from obverse.report.walk import Walk, walk

FRAMES = 9
"""Pictures on the way to an example's counterfactual."""


class Examples:
    """Up to `limit` answers, as equally as possible from every (source, target, valid) that occurs.

    Args:
        limit: how many to keep.
        seed: of the choice.
    """

    def __init__(self, limit: int = 48, seed: int = 0) -> None:
        self.limit, self._generator = limit, torch.Generator().manual_seed(seed)
        self.explanation: Explanation | None = None
        self.sample: Sample | None = None
        self.walk: Walk | None = None
        self.index = torch.zeros(0, dtype=torch.int64)
        self._priority, self._seeds = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
        self.offered = 0

    def __len__(self) -> int:
        return len(self.index)

    def add(self, explanation: Explanation, sample: Sample, index: Tensor, seed: int = 0) -> None:
        """Offer more answers; `index` (N,) says which image of the data set each belongs to, `seed` what noise chose them."""
        self.offered += len(explanation)
        priority = torch.rand(len(explanation), generator=self._generator)
        first = self._choose(explanation, priority)  # most answers are dropped before anything is copied
        explanation, sample = explanation.select(first).to("cpu"), sample.select(first).to("cpu")
        index, priority = index.cpu()[first], priority[first]
        seeds = torch.full_like(index, seed)
        if self.explanation is not None and self.sample is not None:
            explanation = Explanation.cat([self.explanation, explanation])
            sample = Sample.cat([self.sample, sample])
            index, priority = torch.cat([self.index, index]), torch.cat([self._priority, priority])
            seeds = torch.cat([self._seeds, seeds])
            rows = self._choose(explanation, priority)
            explanation, sample = explanation.select(rows), sample.select(rows)
            index, priority, seeds = index[rows], priority[rows], seeds[rows]
        self.explanation, self.sample, self.index = explanation, sample, index
        self._priority, self._seeds = priority, seeds

    @property
    def complete(self) -> bool:
        """Whether nothing that was offered was left out."""
        return self.offered == len(self)

    def arrange(self) -> None:
        """Put the answers into the order of the data, where they are all there; a choice keeps its mix."""
        if self.complete and self.explanation is not None and self.sample is not None:
            order = self.index.argsort(stable=True)
            self.explanation, self.sample = self.explanation.select(order), self.sample.select(order)
            self.index, self._priority, self._seeds = self.index[order], self._priority[order], self._seeds[order]

    def follow(self, explainer: Explainer) -> None:
        """Keep the ways to all answers that were chosen, for the report's sliders; none where there is no way."""
        if self.explanation is None or not len(self):
            return
        explanation, parts, places = self.explanation.to(explainer.classifier.device), list[Walk](), list[Tensor]()
        try:
            for seed in self._seeds.unique().tolist():
                places.append((self._seeds == seed).nonzero().flatten())
                parts.append(walk(explainer, explanation.select(places[-1]), frames=FRAMES, seed=seed))
        except NotApplicable:
            return
        order = torch.cat(places).argsort()
        frames, posterior = (torch.cat([getattr(part, name).cpu() for part in parts])[order] for name in ("frames", "posterior"))
        self.walk = dataclasses.replace(parts[0], frames=frames, posterior=posterior)

    def _choose(self, explanation: Explanation, priority: Tensor) -> Tensor:
        """Return the rows to keep: one of every kind, then the next of every kind, lowest priority first."""
        kinds = torch.stack([explanation.source, explanation.target, explanation.valid.long()], 1).cpu()
        kind = kinds.unique(dim=0, return_inverse=True)[1]
        order = priority.argsort()
        order = order[kind[order].argsort(stable=True)]
        sizes = torch.bincount(kind)
        turn = torch.cat([torch.arange(int(size)) for size in sizes]) if len(sizes) else order
        kept = (turn.double() + priority[order].double()).argsort()[: self.limit]
        return order[kept]
