"""How sure a figure is: bootstrap intervals, by group where there is one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from scipy.stats import beta
from torch import Tensor

from obverse.explanation import NotApplicable

LEVEL = 0.95


def interval(
    values: Tensor, group: Tensor | None = None, *, share: bool = False, seed: int = 0, resamples: int = 1000
) -> tuple[float, float] | None:
    """Return the 95 % percentile bootstrap interval of a mean.

    A share of 0 or 1 would get an interval of width zero; it gets the exact binomial one (Clopper and Pearson
    1934) instead, with the number of groups as n.

    Args:
        values: (N,) finite figures.
        group: (N,) integers; whole groups are drawn. None draws images.
        share: whether the figures are 0 and 1.
        seed: of the draws.
        resamples: how many.

    Returns:
        (low, high), or None for fewer than two groups.
    """
    totals, counts = _by_group(values.double().cpu(), group)
    n = len(counts)
    if n < 2:
        return None
    if share and bool((values == values[0]).all()):
        tail = (1 - LEVEL) / 2
        return (float(beta.ppf(tail, n, 1)), 1.0) if float(values[0]) else (0.0, float(beta.ppf(1 - tail, 1, n)))
    generator = torch.Generator().manual_seed(seed)
    means = []
    chunk = max(1, 4_000_000 // n)
    for start in range(0, resamples, chunk):
        drawn = torch.randint(n, (min(chunk, resamples - start), n), generator=generator)
        means.append(totals[drawn].sum(1) / counts[drawn].sum(1))
    return _percentiles(torch.cat(means))


def interval_of(
    statistic: Callable[[Tensor], float], n: int, group: Tensor | None = None, *, seed: int = 0, resamples: int = 100
) -> tuple[float, float] | None:
    """Return a 95 % bootstrap interval of any statistic of rows.

    The spread of the resamples around their mean is put around the figure itself: a resampled set has repeats, which
    move distances between sets up.

    Args:
        statistic: from row numbers, (M,) with repeats, to the figure; a draw for which it raises NotApplicable is left out.
        n: how many rows there are.
        group: (N,) integers; whole groups are drawn. None draws rows.
        seed, resamples: as for `interval`.

    Returns:
        (low, high), or None for fewer than two groups, or where more than a tenth of the draws have no figure.
    """
    members = None if group is None else _members(group)
    count = n if members is None else len(members)
    if count < 2:
        return None
    generator = torch.Generator().manual_seed(seed)
    figures = []
    for _ in range(resamples):
        drawn = torch.randint(count, (count,), generator=generator)
        rows = drawn if members is None else torch.cat([members[k] for k in drawn.tolist()])
        with contextlib.suppress(NotApplicable):
            figures.append(statistic(rows))
    if len(figures) < 0.9 * resamples:
        return None
    low, high = _percentiles(torch.tensor(figures, dtype=torch.float64))
    shift = statistic(torch.arange(n)) - sum(figures) / len(figures)
    return low + shift, high + shift


LEAST_ALIKE = 6
"""Pairs of which all lie on one side with a probability below 5 % if both sides were as likely: 2 / 2^6."""


def paired_interval(
    first: Tensor, second: Tensor, group: Tensor | None = None, *, seed: int = 0, resamples: int = 1000
) -> tuple[float, tuple[float, float] | None]:
    """Return the mean of first - second over the same images, and its 95 % bootstrap interval.

    Where all pairs differ by the same amount there is nothing to resample: none of fewer than six images or groups (a sign test
    could not tell such a difference from chance), else the amount itself.

    Args:
        first, second: (N,) figures of the same images.
        group, seed, resamples: as for `interval`.

    Raises:
        ValueError: different lengths.
    """
    if first.shape != second.shape:
        raise ValueError(f"second: expected shape {tuple(first.shape)} like first, got {tuple(second.shape)}; "
                         "compare explainers on the same images")  # fmt: skip
    gap = first.double() - second.double()
    if bool(((gap - gap[0]).abs() <= 1e-9).all()):  # every pair differs by the same amount: nothing to resample
        several = len(gap if group is None else group.unique()) >= LEAST_ALIKE
        return float(gap[0]), (float(gap[0]), float(gap[0])) if several else None
    return float(gap.mean()), interval(gap, group, seed=seed, resamples=resamples)


def _percentiles(figures: Tensor) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(figures, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def _by_group(values: Tensor, group: Tensor | None) -> tuple[Tensor, Tensor]:
    if group is None:
        return values, torch.ones_like(values)
    index = group.cpu().unique(return_inverse=True)[1]
    size = int(index.max()) + 1 if len(index) else 0
    totals = torch.zeros(size, dtype=torch.float64).index_add_(0, index, values)
    return totals, torch.bincount(index, minlength=size).double()


def _members(group: Tensor) -> list[Tensor]:
    order = group.cpu().argsort(stable=True)
    sizes = group.cpu().unique(return_counts=True)[1]
    return list(order.split(sizes.tolist()))
