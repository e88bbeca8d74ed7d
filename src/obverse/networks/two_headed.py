"""One translator with two outputs."""

from __future__ import annotations

from torch import Tensor, nn

from obverse.networks.blocks import clip, glorot
from obverse.networks.translators import Norm, UNet


class TwoHeaded(UNet):
    """A U-Net whose last layer is two blocks of convolutions: the stable image and the counterfactual (SAGen, CyCSAE).

    Each block is three convolutions with nothing between them, as in the released SAGen: one linear filter of 5 x 5
    pixels. With one channel, width 16 and depth 2 it has that network's 233,302 numbers.

    Args:
        channels, width, depth, norm, refine, residual, noise: see `UNet`.
    """

    def __init__(
        self, channels: int, *, width: int = 16, depth: int = 2, norm: Norm = "affine", refine: bool = False,
        residual: bool = False, noise: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(
            channels, width=width, depth=depth, norm=norm, refine=refine, residual=residual, noise=noise
        )
        inner = self.out.in_channels
        self.heads = nn.ModuleList([_head(inner, width, channels), _head(inner, width, channels)])
        self.out = nn.Identity()  # type: ignore[assignment]  # `raw` then ends with the features
        glorot(self.heads)
        if residual:  # nearly the identity: from exact zeros the first step would move the last layers only
            for layer in self.heads.modules():
                if isinstance(layer, nn.Conv2d) and layer.out_channels == channels and max(layer.kernel_size) == 1:
                    nn.init.normal_(layer.weight, std=1e-3)

    def forward(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return stable image and counterfactual, each (N, C, H, W), clipped to [0, 1], float32."""
        features = self.raw(image, noise)
        stable, other = (head(features).float() for head in self.heads)
        return (clip(image + stable), clip(image + other)) if self.adds else (clip(stable), clip(other))


def _head(inner: int, width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, inner, 3, padding=1), nn.Conv2d(inner, width, 3, padding=1), nn.Conv2d(width, channels, 1)
    )
