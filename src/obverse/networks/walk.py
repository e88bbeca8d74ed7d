"""Walks: small networks that move a latent in n equal steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

Step = Literal["residual", "plain"]


class Walk(nn.Module):
    """The transformation g of C3LT (section 3.1 and 4.1): two dense layers, applied n times.

    A residual step adds the layers' output to the latent and scales the sum back to the norm that the walk began with,
    as the authors run it, so that the generator sees latents of the size it was trained on; its last layer starts near 0, so
    that it learns from where the image is (theirs starts anywhere), and not at 0, where a distance between start and end has
    no slope. A plain step is the layers' output, as printed.

    Args:
        latent_size: numbers in a latent.
        steps: n, how often the same layers are applied.
        step: "residual" or "plain".
        hidden: numbers between the two layers; None is `latent_size`, as published.
    """

    def __init__(
        self, latent_size: int, *, steps: int = 1, step: Step = "residual", hidden: int | None = None
    ) -> None:
        super().__init__()
        self.steps, self.step = steps, step
        hidden = latent_size if hidden is None else hidden
        self.layers = nn.Sequential(nn.Linear(latent_size, hidden), nn.ReLU(), nn.Linear(hidden, latent_size))
        if step == "residual":
            last = cast("nn.Linear", self.layers[-1])
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)

    def forward(self, latent: Tensor) -> Tensor:
        """Return (N, D), where the walk from (N, D) ends."""
        return self._places(latent)[-1]

    def path(self, latent: Tensor) -> Tensor:
        """Return (N, n + 1, D), the start and every step."""
        return torch.stack(self._places(latent), 1)

    def _places(self, latent: Tensor) -> list[Tensor]:
        norm, places = latent.norm(dim=1, keepdim=True), [latent]
        for _ in range(self.steps):
            here = places[-1]
            moved = self.layers(here).float()
            if self.step == "residual":
                moved = to_norm(here + moved, norm)
            places.append(moved)
        return places


def to_norm(latent: Tensor, norm: Tensor) -> Tensor:
    """Return (N, D) latents scaled to (N, 1) norms."""
    scaled: Tensor = latent * (norm / latent.norm(dim=1, keepdim=True).clamp_min(1e-8))
    return scaled


def walked(walks: Sequence[Walk], way: Tensor, latent: Tensor) -> Tensor:
    """Return (N, n + 1, D), start and steps of each latent's walk, the one that `way` (N,) names; below 0 it stays there."""
    places = latent[:, None].repeat(1, walks[0].steps + 1, 1)
    for index, walk in enumerate(walks):
        rows = way == index
        if bool(rows.any()):
            places[rows] = walk.path(latent[rows])
    return places


def along(places: Tensor, count: int, *, keep_norm: bool) -> Tensor:
    """Return (N, count, D) at equal distances along the lines through (N, P, D) places, at the norm of the first if wanted."""
    at = torch.linspace(0, places.shape[1] - 1, count, device=places.device)
    low = at.floor().long().clamp_max(places.shape[1] - 2)
    share = (at - low).view(1, -1, 1)
    between = places[:, low] * (1 - share) + places[:, low + 1] * share
    if keep_norm:
        between = to_norm(between.flatten(0, 1), places[:, :1].norm(dim=2).expand(-1, count).reshape(-1, 1)).view_as(between)
    return between
