"""Splits that keep a patient on one side, clusters of images that belong together, near duplicates across splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

SPLITS = ("train", "validation", "test")
SIMILAR = 0.99
"""Correlation of two thumbnails from which on their images count as near duplicates."""
MOST_COMPARED = 20_000


def assign(label: Tensor, group: Tensor | None, fractions: Sequence[float], *, seed: int) -> Tensor:
    """Return for each image the part it belongs to; a group is never divided, each class is divided alike.

    Groups are shuffled within their commonest label and laid end to end; a group goes to the part in which its
    middle lies. Without groups every image is its own, and the fractions of each class are met to half an image.

    Args:
        label: (N,) int64.
        group: (N,) int64, or None where there are none.
        fractions: shares of the parts, summing to 1.
        seed: of the shuffling.

    Returns:
        (N,) int64, 0 for the first part and so on.
    """
    random = np.random.default_rng(seed)
    group_of = np.arange(len(label)) if group is None else np.unique(group.numpy(), return_inverse=True)[1]
    size = np.bincount(group_of)
    votes = np.zeros((len(size), int(label.max()) + 1), dtype=np.int64)
    np.add.at(votes, (group_of, label.numpy()), 1)
    stratum = votes.argmax(1)
    bounds = np.cumsum(fractions)[:-1]
    part = np.zeros(len(size), dtype=np.int64)
    for value in range(votes.shape[1]):
        members = random.permutation(np.flatnonzero(stratum == value))
        if len(members):
            middle = (np.cumsum(size[members]) - size[members] / 2) / size[members].sum()
            part[members] = np.searchsorted(bounds, middle, side="right")
    return torch.from_numpy(part[group_of])


def near_duplicates(thumbnail: Tensor, part: Tensor) -> Tensor:
    """Return which images have a near duplicate in another part.

    Two images are near duplicates when their thumbnails correlate at 0.99 or more, so that a change of brightness
    or contrast, a new compression or another resolution does not hide one. Thumbnails without any contrast are
    not compared.

    Args:
        thumbnail: (N, H, W) float32, N at most 20,000 (the work grows with its square).
        part: (N,) int64, as `assign` gives it.

    Returns:
        (N,) bool.
    """
    flat = standardised(thumbnail)
    # in blocks: photographs of one camera may all be alike, and their pairs too many to list
    found = [((flat[rows] @ flat.T >= SIMILAR) & (part[rows, None] != part)).any(1)
             for rows in torch.arange(len(part)).split(1024)]  # fmt: skip
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool)


def standardised(thumbnail: Tensor) -> Tensor:
    """Return (N, H * W) rows of mean 0 and length 1, whose products are the correlations; 0 without contrast."""
    flat = thumbnail.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    length = flat.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-3, flat / length.clamp_min(1e-3), torch.zeros_like(flat))


def similar_pairs(flat: Tensor, least: float) -> Tensor:
    """Return (P, 2) int64 the pairs of rows, each both ways, that correlate at `least` or more.

    Args:
        flat: (N, D) as `standardised` gives it.
        least: correlation.
    """
    found = [(flat[start : start + 1024] @ flat.T >= least).nonzero() + torch.tensor([start, 0])
             for start in range(0, len(flat), 1024)]  # fmt: skip
    pairs = torch.cat(found)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def clusters(links: Tensor, count: int) -> Tensor:
    """Return the cluster of each image: whatever is linked, directly or by way of others, is in one.

    Args:
        links: (L, 2) int64, pairs of images.
        count: N, the number of images.

    Returns:
        (N,) int64, from 0.
    """
    one, other = links.numpy().T
    graph = csr_matrix((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    return torch.from_numpy(connected_components(graph, directed=False)[1].astype(np.int64))
