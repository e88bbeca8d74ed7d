"""A history of generated images for a critic (Shrivastava et al. 2017; CX-GAN section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """The last generated images, as buffers, so that a checkpoint holds them.

    Until it is full every image is kept and returned. Then each image is, half of the time, exchanged for one that was
    kept: the critic sees the old one.

    Args:
        size: images kept; 0 switches it off.
        image_shape: (C, H, W).
    """

    images: Tensor
    count: Tensor

    def __init__(self, size: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *image_shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, image: Tensor, uniform: Tensor) -> Tensor:
        """Return (N, C, H, W) for the critic, detached.

        Args:
            image: (N, C, H, W) just generated.
            uniform: (N, 2) in [0, 1): whether each image is exchanged, and for which.
        """
        size, count = len(self.images), int(self.count)
        shown = image.detach().clone()
        if size == 0:
            return shown
        with torch.no_grad():
            for row, (chance, place) in enumerate(uniform.tolist()):
                if count < size:
                    self.images[count] = shown[row]
                    count += 1
                elif chance < 0.5:
                    index = min(int(place * size), size - 1)
                    kept = self.images[index].clone()
                    self.images[index] = shown[row]
                    shown[row] = kept
            self.count.fill_(count)
        return shown
