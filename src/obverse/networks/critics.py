"""Critics: networks from an image to a logit, larger = more real."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from obverse.networks.blocks import glorot


class Critic(nn.Module):
    """The critic of SyCE (supplement E.1; three levels as released): two convolutions a level, a dense logit, no norm.

    Each level is LeakyReLU, 3x3 convolution, LeakyReLU, 3x3 convolution of stride 2; the first convolution of the first
    level works at full resolution, which fine edges need. Slope 0.3 as released.

    Args:
        image_shape: (C, H, W).
        width: channels of the first level; level l has (l + 1) * width.
        levels: halvings.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, width: int = 32, levels: int = 3) -> None:
        super().__init__()
        channels, height, side = image_shape
        self.layers = nn.ModuleList()
        for level in range(levels):
            outer = width * (level + 1)
            self.layers.append(nn.Conv2d(channels, outer, 3, padding=1))
            self.layers.append(nn.Conv2d(outer, outer, 3, stride=2, padding=1))
            channels, height, side = outer, -(-height // 2), -(-side // 2)
        self.out = nn.Linear(channels * height * side, 1)
        glorot(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return (N,) logits."""
        x = image
        for layer in self.layers:
            x = layer(F.leaky_relu(x, 0.3))
        logit: Tensor = self.out(x.flatten(1)).squeeze(1)
        return logit
