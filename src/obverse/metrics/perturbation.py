"""Curves of the posterior while pixels are exchanged in order: the arithmetic behind COUT, deletion and insertion."""

from __future__ import annotations

import torch
from torch import Tensor

from obverse.classifier import Classifier

AT_ONCE = {"cpu": 100_000, "cuda": 8_000_000}
"""Numbers classified at a time: few on a CPU, so that a network's intermediate images stay in its fast memory."""


def ranks(order: Tensor) -> Tensor:
    """Return (N, P) the place of every pixel, 0 for the highest value of (N, 1, H, W); ties in reading order."""
    if order.stride(0) == 0 and len(order) > 1:  # one map for all images
        return ranks(order[:1]).expand(len(order), -1)
    flat = order.flatten(1)
    places = torch.arange(flat.shape[1], device=flat.device).expand_as(flat)
    return torch.empty_like(places).scatter_(1, flat.argsort(dim=1, descending=True, stable=True), places)


def bounds(pixels: int, steps: int) -> list[int]:
    """Return how many pixels are exchanged after 0, 1, ..., `steps` steps, in batches as equal as possible."""
    return [round(step * pixels / steps) for step in range(steps + 1)]


def exchanged(start: Tensor, end: Tensor, rank: Tensor, count: Tensor) -> Tensor:
    """Return `start` with the `count` (N,) first pixels by `rank` (N, P) taken from `end`, all channels together."""
    taken = (rank < count[:, None]).view(len(start), 1, *start.shape[2:])
    return torch.where(taken, end, start)


def exchange_curve(
    start: Tensor, end: Tensor, order: Tensor, classifier: Classifier, counts: list[int] | Tensor
) -> Tensor:
    """Return the posteriors while pixels of `start` are exchanged for those of `end`, highest `order` first.

    Images that equal the one of the count before are not classified again.

    Args:
        start, end: (N, C, H, W) in [0, 1].
        order: (N, 1, H, W).
        classifier: whose posteriors.
        counts: T + 1 increasing numbers of exchanged pixels, or (N, T + 1), those of each image.

    Returns:
        Tensor: (N, T + 1, K).
    """
    rank = ranks(order)
    changes = (start != end).any(1).flatten(1)
    numbers = torch.as_tensor(counts, device=start.device).expand(len(start), -1)
    # how many pixels that really change are exchanged after each count
    ordered = torch.zeros_like(rank).scatter_(1, rank, changes.to(rank.dtype)).cumsum(1)
    done = torch.cat([torch.zeros_like(ordered[:, :1]), ordered], 1).gather(1, numbers)
    new = torch.ones_like(done, dtype=torch.bool)
    new[:, 1:] = done[:, 1:] != done[:, :-1]
    rows, steps = new.nonzero(as_tuple=True)
    size = max(16, AT_ONCE.get(start.device.type, 8_000_000) // start[0].numel())
    parts = []
    for row, step in zip(rows.split(size), steps.split(size)):
        parts.append(classifier.posterior(exchanged(start[row], end[row], rank[row], numbers[row, step])))
    found = torch.cat(parts) if parts else torch.zeros(0, len(classifier.classes), device=start.device)
    last = new.flatten().cumsum(0).view_as(new) - 1  # the latest one classified, within a row since step 0 always is
    return found[last]


def edits(own: Tensor) -> Tensor:
    """Return (N, T + 1) how many pixels are exchanged after each edit, where a map (N, 1, H, W) has a value an edit.

    An edit is all pixels of one value, the highest first; zeros are edited by nobody. Images with fewer edits than others
    end with repeated counts.
    """
    ordered = own.flatten(1).sort(dim=1, descending=True).values
    last = ordered > 0
    last[:, :-1] &= ordered[:, :-1] != ordered[:, 1:]  # of the pixels of one edit
    places = torch.arange(1, ordered.shape[1] + 1, device=own.device).expand_as(ordered)
    most = int(last.sum(1).max()) if len(own) else 0
    ends = places.masked_fill(~last, 0).sort(dim=1).values[:, ordered.shape[1] - most :]  # zeros first
    shift = (ends == 0).sum(1, keepdim=True)
    index = (torch.arange(most, device=own.device) + shift).clamp_max(max(most - 1, 0))
    return torch.cat([torch.zeros_like(places[:, :1]), ends.gather(1, index)], 1)


def area(curve: Tensor, steps: Tensor | None = None) -> Tensor:
    """Return (N,) the area under curves (N, T + 1) of equal steps by the trapezoid rule, on [0, 1].

    Args:
        curve: values at both ends of every step.
        steps: (N,) how many of a curve's steps count, the first ones, at least 1; None takes all.
    """
    parts = 0.5 * (curve[:, :-1] + curve[:, 1:])
    if steps is None:
        return parts.mean(1)
    counted = torch.arange(parts.shape[1], device=parts.device) < steps[:, None]
    return (parts * counted).sum(1) / steps
