"""From the figures of every answer to the rows of a report."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from obverse.explanation import NotApplicable
from obverse.metrics.base import ImageMetric, SetMetric
from obverse.metrics.statistics import interval, interval_of
from obverse.report.base import Row

MOST_DIRECTIONS = 12
"""With more pairs source -> target than this, only the figures over all are given."""
MOST_FEATURES = 257
"""Wider features get no bootstrap interval: too slow, and too few images for their covariance; 256, and a posterior beside."""


class Answers:
    """What is known of the answers that count.

    Args:
        image: (N,) which image each belongs to.
        source, target: (N,) classes.
        group: (N,) that is resampled as a whole, or None.
        classes: names.
        seed: of the resampling.
    """

    def __init__(
        self, image: Tensor, source: Tensor, target: Tensor, group: Tensor | None, classes: Sequence[str], seed: int
    ) -> None:
        self.image, self.source, self.target, self.group = image, source, target, group
        self.classes, self.seed = classes, seed
        self.directions: list[tuple[str, Tensor]] = [("all", torch.ones_like(source, dtype=torch.bool))]
        pairs = torch.stack([source, target], 1).unique(dim=0).tolist()
        if 1 < len(pairs) <= MOST_DIRECTIONS:
            self.directions += [(f"{classes[a]} -> {classes[b]}", (source == a) & (target == b)) for a, b in pairs]

    def rows_of_values(self, metric: ImageMetric, values: Tensor) -> list[Row]:
        """Return the mean of (N,) figures, NaN where there is none, over all and for each direction that differs."""
        rows: list[Row] = []
        for name, chosen in self.directions if metric.per_direction else self.directions[:1]:
            kept = chosen & ~values.isnan()
            n = int(kept.sum())
            if not n or (rows and n == rows[0].n):
                continue
            part = values[kept].double()
            group = None if self.group is None else self.group[kept]
            low, high = interval(part, group, share=metric.share, seed=self.seed) or (None, None)
            rows.append(Row(
                metric=metric.name, label=metric.label, question=metric.question, direction=name,
                value=float(part.mean()), n=n, low=low, high=high, sd=float(part.std()) if n > 1 else None,
                unit=metric.unit, better=metric.better, note=metric.note(),
            ))  # fmt: skip
        return rows

    def rows_of_features(self, metric: SetMetric, features: Tensor) -> list[Row]:
        """Return the figure of (N, D) features over all and for each direction that has one.

        Raises:
            NotApplicable: none has; the message is that of the figure over all.
        """
        rows: list[Row] = []
        reason: NotApplicable | None = None
        for name, chosen in self.directions if metric.per_direction else self.directions[:1]:
            kept = chosen & metric.kept(features)
            try:
                rows.append(self._row_of_features(metric, features[kept], kept, name))
            except NotApplicable as why:
                reason = reason or why
        if not rows and reason is not None:
            raise reason
        return rows

    def _row_of_features(self, metric: SetMetric, part: Tensor, kept: Tensor, name: str) -> Row:
        source, target = self.source[kept], self.target[kept]
        value, bounds = metric.compute(part, source, target), None
        if part.shape[1] <= MOST_FEATURES and metric.resamples:
            group = None if self.group is None else self.group[kept]
            same = metric.resampled(part, source, target)
            bounds = interval_of(lambda rows: same.compute(part[rows], source[rows], target[rows]), len(part), group,
                                 seed=self.seed, resamples=metric.resamples)  # fmt: skip
            if bounds is not None and bounds[0] == bounds[1]:  # every draw gave the same: that tells nothing of others
                whole = metric.range == (0.0, 1.0) and value in (0.0, 1.0)
                bounds = interval(torch.full((len(part),), value), group, share=True) if whole else None
        low, high = (
            (None, None) if bounds is None else (max(bounds[0], metric.range[0]), min(bounds[1], metric.range[1]))
        )
        return Row(
            metric=metric.name, label=metric.label, question=metric.question, direction=name, value=value, n=len(part),
            low=low, high=high, unit=metric.unit, better=metric.better, note=metric.note(),
            beside=metric.beside(part, source, target),
        )  # fmt: skip
