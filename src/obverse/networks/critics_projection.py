"""The projection critic of EPE: realism of an image, plus how well it fits an ordered bin."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from obverse.networks.blocks import glorot
from obverse.networks.conditional import widths


def thermometer(which: Tensor, bins: int) -> Tensor:
    """Return (N, bins - 1): entry i is 1 where the bin is above i, so that bin k sets the first k entries (EPE eq. 4)."""
    return (which[:, None] > torch.arange(bins - 1, device=which.device)).float()


class ProjectionCritic(nn.Module):
    """psi(phi(x)) + sum over i < k of v_i . phi(x) (EPE eqs 3 and 4); residual blocks, spectral norm on every layer.

    Deviation from the released code: the v_i are separate, as printed. There all thresholds share one pair of vectors,
    which makes the term affine in k, so that a middle bin never wins.

    Args:
        image_shape: (C, H, W).
        bins: how many.
        width: channels of the first block; the released network has 64.
        depth: halvings; one more block follows at the lowest resolution.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, bins: int, width: int, depth: int) -> None:
        super().__init__()
        inner, outers = image_shape[0], widths(width, depth - 1)
        self.blocks = nn.ModuleList()
        for level, outer in enumerate([*outers, outers[-1]]):
            self.blocks.append(_Block(inner, outer, first=level == 0, pools=level < depth))
            inner = outer
        self.realism = nn.Linear(inner, 1)  # psi
        self.ordinal = nn.Linear(inner, bins - 1, bias=False)  # the v_i, one row each
        glorot(self)
        for layer in [m for m in self.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]:
            spectral_norm(layer)

    def forward(self, image: Tensor, code: Tensor) -> Tensor:
        """Return (N,) logits.

        Args:
            image: (N, C, H, W) in [-1, 1].
            code: (N, bins - 1) `thermometer` of each image's bin, as in eq. 4, or that minus a half, which moves half the sum of
                the v_i into psi: then a row of zeros, which leaves the ordinal term out, is no bin but the mean of the ends.
        """
        x = image
        for block in self.blocks:
            x = block(x)
        phi = F.relu(x).float().sum((2, 3))
        logit: Tensor = self.realism(phi).squeeze(1) + (self.ordinal(phi) * code).sum(1)  # eqs 3 and 4
        return logit


class _Block(nn.Module):
    """ReLU-Conv3-ReLU-Conv3 and a shortcut; the first block has no ReLU on the image."""

    def __init__(self, inner: int, outer: int, *, first: bool, pools: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(inner, outer, 3, padding=1), nn.Conv2d(outer, outer, 3, padding=1)
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer or pools else nn.Identity()
        self.first, self.pools = first, pools

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.pools:  # pooling and a 1x1 convolution change places freely; so it works on a quarter of the pixels
            y, x = F.avg_pool2d(y, 2, ceil_mode=True), F.avg_pool2d(x, 2, ceil_mode=True)
        result: Tensor = y + self.skip(x)
        return result
