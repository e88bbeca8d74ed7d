"""Critics: networks from an image to a logit, larger = more real."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from obverse.networks.blocks import glorot, to_blocks


class Critic(nn.Module):
    """The critic of SyCE (supplement E.1; three levels as released): two convolutions a level, a dense logit, no norm.

    Each level is LeakyReLU, 3x3 convolution, LeakyReLU, 3x3 convolution of stride 2; the first convolution of the first
    level works at full resolution, which fine edges need. Slope 0.3 as released.

    Args:
        image_shape: (C, H, W).
        width: channels of the first level; level l has (l + 1) * width.
        levels: halvings.
        shrink: side of the blocks of pixels that it works on as channels, so that no pixel is lost; it divides the sides.
        hidden: numbers of a layer between the features and the logit; 0 is none, as released. Without one the logit is a
            sum over places further apart than the convolutions see, so that half a finding in each of two places looks
            like a whole one in either.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], *, width: int = 32, levels: int = 3, shrink: int = 1, hidden: int = 0
    ) -> None:
        super().__init__()
        self.shrink, channels, height, side = shrink, image_shape[0] * shrink**2, *(s // shrink for s in image_shape[1:])
        self.layers = nn.ModuleList()
        for level in range(levels):
            outer = width * (level + 1)
            self.layers.append(nn.Conv2d(channels, outer, 3, padding=1))
            self.layers.append(nn.Conv2d(outer, outer, 3, stride=2, padding=1))
            channels, height, side = outer, -(-height // 2), -(-side // 2)
        self.hidden = nn.Linear(channels * height * side, hidden) if hidden else None
        self.out = nn.Linear(hidden or channels * height * side, 1)
        glorot(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return (N,) logits."""
        x = to_blocks(image, self.shrink)
        for layer in self.layers:
            x = layer(F.leaky_relu(x, 0.3))
        x = x.flatten(1)
        if self.hidden is not None:
            x = F.leaky_relu(self.hidden(x), 0.3)
        logit: Tensor = self.out(x).squeeze(1)
        return logit


class PooledCritic(nn.Module):
    """The critic of VA-GAN: 3x3 convolutions with ReLU and max pooling, no norm, the mean of a map as the logit.

    With one channel, width 16 and 4 levels it has the 1,757,249 numbers of the published one, but for the last offset: in
    a difference of two logits nothing moves it.

    Args:
        channels: of the image.
        width: channels of the first level; each level doubles them. The first two levels have one convolution, the others
            two; three more follow the last pooling.
        levels: poolings; the image's sides must be at least 2 ** levels.
    """

    def __init__(self, channels: int, *, width: int = 16, levels: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for level in range(levels + 1):
            outer = width * 2**level
            for _ in range(3 if level == levels else 1 if level < 2 else 2):
                layers += [nn.Conv2d(channels, outer, 3, padding=1), nn.ReLU(inplace=True)]
                channels = outer
            if level < levels:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 1, bias=False))
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Return (N,) logits."""
        logit: Tensor = self.layers(image).mean((1, 2, 3))
        return logit
