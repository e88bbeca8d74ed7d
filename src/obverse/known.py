"""What an explainer remembers of the images that it was fitted and validated on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Known(nn.Module):
    """The residual up to which an image counts as well represented, and numbers of images; buffers, so that they are saved.

    Args:
        counts: names of buffers of whole numbers, zero at first, and how many numbers each has.
    """

    limit: Tensor

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.register_buffer("limit", torch.tensor(torch.inf))  # until it is calibrated
        for name, length in (counts or {}).items():
            self.register_buffer(name, torch.zeros(length, dtype=torch.int64))

    def calibrate(self, residual: Tensor, share: float = 0.9) -> float:
        """Set the limit to what a share of held-out images keep, and return it.

        Args:
            residual: (N,) of held-out images.
            share: of them that are to count as well represented.
        """
        self.limit.copy_(residual.detach().quantile(share))
        return float(self.limit)

    def forget(self) -> None:
        """Go back to knowing no limit."""
        self.limit.fill_(torch.inf)

    def represented(self, residual: Tensor) -> Tensor | None:
        """Return (N,) bool, or None before the limit is calibrated."""
        return residual <= self.limit if bool(self.limit.isfinite()) else None
