"""Maps against masks: the arithmetic behind localisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cut:
    """Where a map is cut: the region is sign * map > threshold.

    Args:
        threshold: of the map times its sign.
        sign: 1 if high values are evidence, -1 if low ones are.
        chosen: how it was chosen, for the note in tables.
    """

    threshold: float
    sign: float = 1.0
    chosen: str = ""


def overlap(region: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and Dice of regions and masks, (..., 1, H, W) of 0 and 1; 0 where both are empty."""
    region, mask = region.flatten(-3).float(), mask.flatten(-3).float()
    both, total = (region * mask).sum(-1), region.sum(-1) + mask.sum(-1)
    return both / (total - both).clamp_min(1), 2 * both / total.clamp_min(1)


def best_cut(maps: Tensor, masks: Tensor, signs: Sequence[float]) -> Cut:
    """Return the cut with the highest mean Dice.

    Candidates lie halfway between neighbouring values of the maps: 200 at equal steps in the share of pixels above
    them and, since regions are small, in its logarithm; then 50 around the best of those.

    Args:
        maps: (N, 1, H, W), finite.
        masks: (N, 1, H, W) of 0 and 1.
        signs: polarities to try, 1 and -1.
    """
    coarse = torch.cat([torch.linspace(0, 1, 101)[1:], torch.logspace(-5, 0, 100)]).double()
    best, best_dice = Cut(float(maps.max()), signs[0]), -1.0
    for sign in signs:
        ordered = (sign * maps).flatten().sort(descending=True).values
        last = len(ordered) - 1
        places = (coarse * last).long().unique()
        dices = _dices(sign * maps, masks, ordered, places)
        top = int(dices.argmax())
        around = places[max(top - 1, 0)], places[min(top + 1, len(places) - 1)]
        places = torch.linspace(float(around[0]), float(around[1]), 50).long().unique()
        dices = _dices(sign * maps, masks, ordered, places)
        if float(dices.max()) > best_dice:
            best_dice = float(dices.max())
            best = Cut(_halfway(ordered, int(places[dices.argmax()])), sign, "chosen on validation")
    return best


def _dices(maps: Tensor, masks: Tensor, ordered: Tensor, places: Tensor) -> Tensor:
    """Return (P,), the mean Dice of the maps cut halfway below each of the places, which ascend; in one pass."""
    cuts = torch.tensor([_halfway(ordered, place) for place in places.tolist()], dtype=maps.dtype, device=maps.device)
    bins = len(cuts) + 1
    below = torch.bucketize(maps.flatten(1), cuts.flip(0))  # how many cuts lie below a pixel
    below += bins * torch.arange(len(maps), device=maps.device)[:, None]
    inside = masks.flatten(1)
    counts = [
        torch.bincount(below.flatten(), weights, len(maps) * bins).view(-1, bins)
        for weights in (None, inside.flatten())
    ]
    region, both = (count.flip(1).cumsum(1)[:, :-1].float() for count in counts)  # of pixels above each cut
    return (2 * both / (region + inside.sum(1, keepdim=True)).clamp_min(1)).mean(0).cpu()


def _halfway(ordered: Tensor, place: int) -> float:
    """Return a threshold between the value at `place` and the next one below."""
    return float(ordered[place : place + 2].double().mean())


def average_precision(score: Tensor, mask: Tensor) -> Tensor:
    """Return (N,) average precision of (N, 1, H, W) scores for masks; ties share one step; 0 for an empty mask."""
    ordered, order = score.flatten(1).sort(dim=1, descending=True, stable=True)
    hits = mask.flatten(1).double().gather(1, order).cumsum(1)
    rank = torch.arange(1, hits.shape[1] + 1, device=hits.device, dtype=torch.float64)
    last = torch.ones_like(ordered, dtype=torch.bool)  # the last place of each run of equal scores
    last[:, :-1] = ordered[:, :-1] != ordered[:, 1:]
    recall = torch.where(last, hits, torch.zeros_like(hits)).cummax(1).values / hits[:, -1:].clamp_min(1)
    gained = torch.diff(recall, dim=1, prepend=torch.zeros_like(recall[:, :1]))
    return (gained * hits / rank).sum(1).float()


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return (N,) Pearson's correlation over all but the first axis; 0 where either is constant."""
    a, b = first.flatten(1).double(), second.flatten(1).double()
    flat = (a == a[:, :1]).all(1) | (b == b[:, :1]).all(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    scale = (a.square().sum(1) * b.square().sum(1)).sqrt()
    value = (a * b).sum(1) / scale.clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(flat | (scale == 0), torch.zeros_like(value), value).clamp(-1, 1).float()


def strongest(score: Tensor, count: int) -> Tensor:
    """Return (N, 1, H, W) bool, exactly the `count` highest pixels of each map; ties in reading order."""
    flat = score.flatten(1)
    chosen = flat.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, chosen, True).view_as(score)


def otsu(score: Tensor, bins: int = 256) -> Tensor:
    """Return (N,) Otsu's threshold of each map, from a histogram between its extremes; a constant map's own value.

    Args:
        score: (N, 1, H, W), finite.
        bins: of the histogram.
    """
    flat = score.flatten(1).double()
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    width = (high - low).clamp_min(torch.finfo(torch.float64).tiny)
    index = ((flat - low) / width * bins).long().clamp(0, bins - 1)
    counts = torch.zeros(len(flat), bins, dtype=torch.float64, device=flat.device)
    counts.scatter_add_(1, index, torch.ones_like(flat))
    centres = low + width * (torch.arange(bins, device=flat.device) + 0.5) / bins
    below, mass = counts.cumsum(1), (counts * centres).cumsum(1)
    above, rest = below[:, -1:] - below, mass[:, -1:] - mass
    gap = mass / below.clamp_min(1) - rest / above.clamp_min(1)
    between = torch.where((below > 0) & (above > 0), below * above * gap.square(), torch.zeros_like(gap))
    best = between.argmax(1, keepdim=True)
    return torch.where(high > low, centres.gather(1, best), high)[:, 0]
