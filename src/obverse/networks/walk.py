"""Walks: small networks that move a latent in n equal steps."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Step = Literal["residual", "plain"]


class Walk(nn.Module):
    """The transformation g of C3LT (section 3.1 and 4.1): two dense layers, applied n times.

    A residual step adds the layers' output to the latent and scales the sum back to the norm that the walk began with,
    as the authors run it, so that the generator sees latents of the size it was trained on; its last layer starts at 0, so
    that it learns from where the image is (theirs starts anywhere). A plain step is the layers' output, as printed.

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
            for parameter in self.layers[-1].parameters():
                nn.init.zeros_(parameter)

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
