"""Distances between two sets of features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import gaussian_kde
from torch import Tensor

from obverse.explanation import NotApplicable

MOST = 5000
"""Rows of each set in pairwise distances."""


def frechet(first: Tensor, second: Tensor) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of (N, D) and (M, D), with unbiased covariances.

    The trace of the root is that of the symmetric S1^(1/2) S2 S1^(1/2), so singular covariances need no ridge.

    Raises:
        NotApplicable: fewer than 2 rows on either side.
    """
    if min(len(first), len(second)) < 2:
        raise NotApplicable(f"features: a Frechet distance needs at least 2 rows a set, got {len(first)} and "
                            f"{len(second)}; evaluate more images")  # fmt: skip
    a, b = first.double(), second.double()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    one, two = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    values, vectors = torch.linalg.eigh(one)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ two @ root).clamp_min(0).sqrt().sum()
    return max(0.0, float(gap + one.trace() + two.trace() - 2 * cross))


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, as KID has it.

    At most the first `MOST` rows of each set are used.

    Raises:
        NotApplicable: fewer than 2 rows on either side.
    """
    a, b = first[:MOST].double(), second[:MOST].double()
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise NotApplicable(f"features: a kernel distance needs at least 2 rows a set, got {n} and {m}; evaluate "
                            "more images")  # fmt: skip

    def total(x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the kernel over all pairs, 500 rows at a time: all at once would be gigabytes."""
        return torch.stack([((part @ y.T / x.shape[1] + 1) ** 3).sum() for part in x.split(500)]).sum()

    def itself(x: Tensor) -> Tensor:
        return ((x.square().sum(1) / x.shape[1] + 1) ** 3).sum()

    one = (total(a, a) - itself(a)) / (n * (n - 1))
    two = (total(b, b) - itself(b)) / (m * (m - 1))
    return float(one + two - 2 * total(a, b) / (n * m))


@dataclass(frozen=True)
class Plane:
    """Two principal components of real features and a grid over them.

    Args:
        centre: (D,).
        axes: (D, 2).
        low, high: (2,) the grid's corners, the real points' extremes and a quarter of their span on each side.
        shares: of the variance, first and second component.
    """

    centre: Tensor
    axes: Tensor
    low: Tensor
    high: Tensor
    shares: tuple[float, float]

    @staticmethod
    def of(real: Tensor) -> Plane:
        """Fit on real features (N, D) only.

        Raises:
            NotApplicable: fewer than 3 rows or 2 columns, or all rows equal.
        """
        if len(real) < 3 or real.shape[1] < 2 or bool((real == real[0]).all()):
            raise NotApplicable(f"reference: two principal components need at least 3 different rows of 2, got "
                                f"{tuple(real.shape)}; pass more real images")  # fmt: skip
        centre = real.double().mean(0)
        _, scales, axes = torch.linalg.svd(real.double() - centre, full_matrices=False)
        power = scales.square() / scales.square().sum()
        points = (real.double() - centre) @ axes[:2].T
        low, high = points.amin(0), points.amax(0)
        margin = 0.25 * (high - low)
        return Plane(centre, axes[:2].T, low - margin, high + margin, (float(power[0]), float(power[1])))

    def project(self, features: Tensor) -> Tensor:
        """Return (N, 2)."""
        return (features.double() - self.centre) @ self.axes

    def density(self, features: Tensor, side: int = 100) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the kernel density on the grid, normalised to sum 1: (side * side,); uniform where it vanishes.

        Raises:
            NotApplicable: too few or too equal points for a density.
        """
        points = self.project(features[:MOST]).numpy().T
        grid = np.stack(np.meshgrid(*(np.linspace(float(a), float(b), side) for a, b in zip(self.low, self.high))))
        try:
            values = gaussian_kde(points)(grid.reshape(2, -1))  # Scott's bandwidth, full covariance
        except (np.linalg.LinAlgError, ValueError) as error:
            raise NotApplicable(f"features: no density in the plane of {points.shape[1]} answers ({error}); they are "
                                "too few or all alike") from error  # fmt: skip
        total = values.sum()
        return values / total if total > 0 else np.full(side * side, 1 / side**2)


def jensen_shannon(first: Tensor, second: Tensor, plane: Plane) -> float:
    """Return the Jensen-Shannon distance (root, base 2) of the densities of two sets in a plane; 0 to 1."""
    p, q = plane.density(first), plane.density(second)
    middle = (p + q) / 2

    def divergence(a: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        some = (a > 0) & (middle > 0)  # half of the smallest number is 0
        return float((a[some] * np.log2(a[some] / middle[some])).sum())

    return float(np.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2)))
