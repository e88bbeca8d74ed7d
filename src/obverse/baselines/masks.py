"""Masks found by search: what must be blurred away for the decision to go (BBMP)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from obverse.baselines.common import blur, search_logits
from obverse.explainer import Answer, Explainer, Query
from obverse.search import minimise
from obverse.settings import check_positive


@dataclass(eq=False, kw_only=True)
class BBMP(Explainer):
    """The smallest smooth mask whose blurring takes the decision away (Fong and Vedaldi 2017, eqs 4 and 6).

    Minimises, for each image, area * mean(1 - m) + smoothness * TV(m) + posterior of the source of the blend
    m x + (1 - m) blur(x), with Adam. From SyCE's supplement 5.2: the mask has a cell for every 4 pixels (56 x 56 for
    224), is upsampled and filtered, the blur has sigma 5, 150 iterations. The rest is unpublished there: the power of
    the variation and the rate are those of Fong and Vedaldi's released code.

    Deviations: area and variation are means over cells, where that code adds up 28 x 28 of them with weights of 1e-4 and
    1e-2, as means 0.08 and 7.8. So little weight of the area marks whole digits, so it is 0.3, and the variation, taken
    down and across apart, has 0.2. No jitter of the image, so that the answer needs no seed; the mask starts at one half,
    since all ones is a flat place for a sure classifier; the filter has sigma 1, since the published 3, meant for 224
    pixels, leaves little shape at 28.

    Args:
        cell: side of a mask cell, in pixels.
        filter: sigma of the mask's filter, in pixels; 0 leaves it unfiltered.
        sigma: of the blur, in pixels.
        area: weight of the share that is blurred.
        smoothness: weight of the variation between neighbouring cells.
        power: of the variation.
        steps: iterations.
        rate: Adam's.

    Raises:
        ValueError: numbers that are not positive, or a cell larger than the image.
    """

    name: ClassVar[str] = "bbmp"

    cell: int = 4
    filter: float = 1.0
    sigma: float = 5.0
    area: float = 0.3
    smoothness: float = 0.2
    power: float = 3.0
    steps: int = 150
    rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "sigma", "power", "steps", "rate")
        side = min(self.classifier.image_shape[1:])
        if not 1 <= self.cell <= side // 2:
            raise ValueError(f"cell: expected 1 to {side // 2} pixels for images of {side}, got {self.cell}; 4 is the "
                             "published size")  # fmt: skip
        if self.filter < 0 or self.area < 0 or self.smoothness < 0:
            raise ValueError(f"filter, area, smoothness: expected at least 0, got {self.filter:g}, {self.area:g}, "
                             f"{self.smoothness:g}; 0 switches one off")  # fmt: skip

    def answer(self, query: Query) -> Answer:
        """Return 1 - m at the image's size as the attribution, and the blend as the counterfactual."""
        blurred, (height, width) = blur(query.image, self.sigma), query.image.shape[-2:]
        grid = (math.ceil(height / self.cell), math.ceil(width / self.cell))
        start = query.image.new_full((len(query.image), 1, *grid), 0.5)

        def objective(mask: Tensor, rows: Tensor) -> Tensor:
            return self.loss(mask, query.image[rows], blurred[rows], query.source[rows])

        found = minimise(
            objective, start, steps=self.steps, rate=self.rate, project=lambda mask, _: mask.clamp(0, 1)
        ).value
        kept = self.upsampled(found, query.image)
        lost = 1 - kept
        attribution = lost * (lost > 1e-5)  # what is less is the filter's rounding, which a map scaled to its maximum would show
        return Answer(counterfactual=kept * query.image + lost * blurred, attribution=attribution)

    def loss(self, mask: Tensor, image: Tensor, blurred: Tensor, source: Tensor) -> Tensor:
        """Return (M,) the objective (eq. 6 with the blur of eq. 4)."""
        kept = self.upsampled(mask, image)
        posterior = search_logits(self.classifier, kept * image + (1 - kept) * blurred).softmax(1)
        return (
            self.area * (1 - mask).flatten(1).mean(1)
            + self.smoothness * self.variation(mask)
            + posterior.gather(1, source[:, None]).squeeze(1)
        )

    def variation(self, mask: Tensor) -> Tensor:
        """Return (M,) the mean of |difference| ^ power of neighbours below plus that of neighbours beside."""
        down, across = mask.diff(dim=2), mask.diff(dim=3)
        return down.abs().pow(self.power).flatten(1).mean(1) + across.abs().pow(self.power).flatten(1).mean(1)

    def upsampled(self, mask: Tensor, image: Tensor) -> Tensor:
        """Return (M, 1, H, W) in [0, 1]."""
        large = F.interpolate(mask.float(), size=image.shape[-2:], mode="bilinear", align_corners=False)
        return blur(large, self.filter).clamp(0, 1) if self.filter else large.clamp(0, 1)
