"""Attribution maps, through captum where it has them: they show where the evidence is and make no counterfactual.

All attribute the same number, the logit of the decided class minus that of the target (see `common.contrast`); the
papers take one class's logit or probability. Maps are >= 0: the magnitude for gradients, the supporting side for
occlusion and class activation maps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import Occlusion as CaptumOcclusion
from captum.attr import Saliency
from torch import Tensor

from obverse.baselines.common import (
    blur,
    check_same_classifier,
    contrast,
    counterfactual_of,
    in_parts,
    margin,
)  # fmt: skip
from obverse.baselines.layers import activation_and_gradient, spatial_layer, upsampled
from obverse.explainer import Answer, Explainer, Query
from obverse.explanation import NotApplicable
from obverse.settings import check_positive

Start = Literal["black", "mean", "blur", "counterfactual"]
Fill = Literal["black", "mean", "blur"]


@dataclass(eq=False, kw_only=True)
class Gradient(Explainer):
    """The gradient of the score in the pixels (Simonyan et al. 2013, section 3): largest magnitude over channels."""

    name: ClassVar[str] = "gradient"

    def answer(self, query: Query) -> Answer:
        """Return the map of captum's `Saliency`."""
        gradient = in_parts(lambda *rows: _saliency(self, *rows), query.image, query.source, query.target, size=256)
        return Answer(attribution=gradient.abs().amax(1, keepdim=True))


@dataclass(eq=False, kw_only=True)
class SmoothGrad(Explainer):
    """The mean gradient over noisy copies of the image (Smilkov et al. 2017, section 3).

    captum's `NoiseTunnel` draws from the global random state, so that a map would depend on its batch mates; here every
    image sees the same noise of the seed, and captum gives the gradients. Copies are not clipped, as in the paper.

    Args:
        copies: how many.
        noise: standard deviation, as a share of the range of pixels.
    """

    name: ClassVar[str] = "smoothgrad"

    copies: int = 25
    noise: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "copies", "noise")

    def answer(self, query: Query) -> Answer:
        """Return the magnitude of the mean gradient."""
        total = torch.zeros_like(query.image)
        for k in range(self.copies):
            draw = torch.Generator().manual_seed(query.seed * 1_000_003 + k)
            noise = torch.randn(self.classifier.image_shape, generator=draw).to(query.image.device)
            noisy = query.image + self.noise * noise
            total += in_parts(lambda *rows: _saliency(self, *rows), noisy, query.source, query.target, size=256)
        return Answer(attribution=(total / self.copies).abs().amax(1, keepdim=True))


@dataclass(eq=False, kw_only=True)
class IntegratedGradients(Explainer):
    """Gradients integrated from a baseline to the image (Sundararajan et al. 2017, eq. 1), through captum.

    Completeness: a signed map sums to score(image) - score(baseline); here channels are added and the magnitude taken.
    With `baseline="counterfactual"` the path starts at another explainer's answer, as medXGAN proposes.

    Args:
        explainer: whose counterfactual the path starts from; only for `baseline="counterfactual"`.
        baseline: a black image, the image's own mean, a blur of it, or the counterfactual.
        score: what is attributed, the logit difference (`contrast`), which does not saturate, or the posterior of the class
            decided, as latent integrated gradients do.
        steps: of the integral (Gauss-Legendre).
        sigma: of the blur, in pixels.

    Raises:
        ValueError: a counterfactual as baseline without an explainer, or an explainer without that baseline.
        NotApplicable: when explaining: an explainer without counterfactuals.
    """

    name: ClassVar[str] = "integrated_gradients"

    explainer: Explainer | None = field(default=None, kw_only=False)
    baseline: Start = "black"
    score: Literal["contrast", "posterior"] = "contrast"
    steps: int = 50
    sigma: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "steps", "sigma")
        if (self.explainer is None) == (self.baseline == "counterfactual"):
            got = "none" if self.explainer is None else self.explainer.name
            remedy = "pass an explainer that makes them" if self.explainer is None else "pass baseline='counterfactual'"
            raise ValueError(f"explainer: expected one exactly where the baseline is a counterfactual, got {got} for "
                             f"baseline={self.baseline!r}; {remedy}")  # fmt: skip
        if self.explainer is not None:
            check_same_classifier(self.explainer, self.classifier, self.name)

    def answer(self, query: Query) -> Answer:
        """Return the magnitude of the sum over channels."""
        signed = self.integrate(query)
        return Answer(attribution=signed.sum(1, keepdim=True).abs())

    def integrate(self, query: Query) -> Tensor:
        """Return (M, C, H, W) the signed attributions, which sum to score(image) - score(baseline)."""
        if self.explainer is not None:
            start = counterfactual_of(self.explainer, query, self.name)
        else:
            start = _filled(query.image, "black" if self.baseline == "counterfactual" else self.baseline, self.sigma)
        return in_parts(self._part, query.image, start, query.source, query.target, size=max(1, 256 // self.steps))

    def _part(self, image: Tensor, start: Tensor, source: Tensor, target: Tensor) -> Tensor:
        method = CaptumIntegratedGradients(self._scored)
        found: Tensor = method.attribute(
            _leaf(image), baselines=start, additional_forward_args=(source, target), n_steps=self.steps
        )
        return found.detach().float()

    def _scored(self, image: Tensor, source: Tensor, target: Tensor) -> Tensor:
        if self.score == "contrast":
            return contrast(self.classifier, image, source, target)
        return self.classifier.posterior(image).gather(1, source[:, None]).squeeze(1)

    def describe(self) -> dict[str, Any]:
        """Return the settings and the explainer whose counterfactual is the baseline."""
        return super().describe() | ({} if self.explainer is None else {"explainer": self.explainer.describe()})


@dataclass(eq=False, kw_only=True)
class Occlusion(Explainer):
    """How much the score drops when a patch is covered (Zeiler and Fergus 2014, section 4.2), through captum.

    The score is the logit difference, which does not saturate as their probability does. A pixel gets the mean over the patches
    that cover it, and 0 where that is a rise.

    Args:
        patch: side of the square, in pixels.
        stride: between patches, in pixels.
        fill: what covers: black, the image's own mean, or a blur of it.
        sigma: of the blur, in pixels.

    Raises:
        ValueError: a patch larger than the image, or a stride larger than the patch.
    """

    name: ClassVar[str] = "occlusion"
    needs_gradient: ClassVar[bool] = False

    patch: int = 6
    stride: int = 2
    fill: Fill = "black"
    sigma: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        side = min(self.classifier.image_shape[1:])
        if not 1 <= self.stride <= self.patch <= side:
            raise ValueError(f"patch, stride: expected 1 <= stride <= patch <= {side} pixels, got stride "
                             f"{self.stride} and patch {self.patch}; a gap would leave pixels unseen")  # fmt: skip

    def answer(self, query: Query) -> Answer:
        """Return the mean drop of the patches over each pixel."""
        cover = _filled(query.image, self.fill, self.sigma)
        drop = in_parts(self._part, query.image, cover, query.source, query.target, size=64)
        return Answer(attribution=drop.mean(1, keepdim=True).clamp_min(0))

    def _part(self, image: Tensor, cover: Tensor, source: Tensor, target: Tensor) -> Tensor:
        method, channels = CaptumOcclusion(lambda seen, s, t: contrast(self.classifier, seen, s, t)), image.shape[1]
        found: Tensor = method.attribute(
            image,
            sliding_window_shapes=(channels, self.patch, self.patch),
            strides=(channels, self.stride, self.stride),
            baselines=cover,
            additional_forward_args=(source, target),
            perturbations_per_eval=max(1, 256 // max(1, len(image))),
        )
        return found.float()


@dataclass(eq=False, kw_only=True)
class GradCAM(Explainer):
    """Feature maps weighted by their mean gradient (Selvaraju et al. 2017, eqs 1 and 2), bilinear to the image's size.

    captum's `LayerGradCam` gives the same for convolutions (tested); tokens of a transformer are laid out as a grid.

    Args:
        layer: name of the layer; "" takes the last with spatial output that runs once, and holds its name afterwards.

    Raises:
        NotApplicable: no layer with spatial output.
        ValueError: an unknown or unusable layer.
    """

    name: ClassVar[str] = "gradcam"

    layer: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._layer = spatial_layer(self.classifier, self.layer, self.name)
        self.layer = self._layer.name

    def answer(self, query: Query) -> Answer:
        """Return ReLU of the weighted sum of the maps."""
        return Answer(attribution=in_parts(self._part, query.image, query.source, query.target, size=256))

    def _part(self, image: Tensor, source: Tensor, target: Tensor) -> Tensor:
        cells, gradient = activation_and_gradient(
            self._layer, image, lambda seen: contrast(self.classifier, seen, source, target)
        )
        weight = gradient.mean((2, 3), keepdim=True)  # eq. 1
        return upsampled((weight * cells).sum(1, keepdim=True).relu(), image)  # eq. 2


@dataclass(eq=False, kw_only=True)
class CAM(Explainer):
    """Feature maps weighted by the last layer's weights (Zhou et al. 2016, eq. 2), bilinear to the image's size.

    It exists only for classifiers whose last linear layer sees the mean of each map. The weights are read as the
    gradient of the score in those means, which for the two logits of `contrast` is the difference of their weight rows.
    Deviation: negative values count 0.

    Args:
        layer: name of the layer; "" takes the last with spatial output, and holds its name afterwards.

    Raises:
        NotApplicable: no linear layer after a global average of feature maps.
        ValueError: an unknown or unusable layer.
    """

    name: ClassVar[str] = "cam"

    layer: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._layer = spatial_layer(self.classifier, self.layer, self.name)
        self.layer = self._layer.name
        probe = torch.rand(2, *self.classifier.image_shape, generator=torch.Generator().manual_seed(0))
        with self._no_trace("float32"):
            cells, _ = self._cells(probe.to(self.classifier.device))
            try:
                means = self.classifier.features(probe.to(self.classifier.device))
            except NotApplicable as error:
                raise NotApplicable("cam: the classifier has no linear layer that runs; use gradcam, which needs no global "
                                    "average") from error  # fmt: skip
        pooled = cells.mean((2, 3))
        if means.shape != pooled.shape or not torch.allclose(means, pooled, rtol=1e-3, atol=1e-5):
            raise NotApplicable(f"cam: the last linear layer does not see the means of the maps of {self.layer!r}; use "
                                "gradcam, which needs no global average")  # fmt: skip

    def answer(self, query: Query) -> Answer:
        """Return the positive part of the weighted sum of the maps."""
        return Answer(attribution=in_parts(self._part, query.image, query.source, query.target, size=256))

    def _cells(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return activation_and_gradient(
            self._layer, image, lambda seen: margin(self.classifier.logits(seen), seen.new_zeros(len(seen)).long())
        )

    def _part(self, image: Tensor, source: Tensor, target: Tensor) -> Tensor:
        cells, gradient = activation_and_gradient(
            self._layer, image, lambda seen: contrast(self.classifier, seen, source, target)
        )
        weight = gradient.sum((2, 3), keepdim=True)  # d score / d mean: each cell holds 1 / (h w) of it
        return upsampled((weight * cells).sum(1, keepdim=True).clamp_min(0), image)


def _saliency(explainer: Explainer, image: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Return (M, C, H, W), the signed gradient of the score."""
    method = Saliency(lambda seen, s, t: contrast(explainer.classifier, seen, s, t))
    found: Tensor = method.attribute(_leaf(image), abs=False, additional_forward_args=(source, target))
    return found.detach().float()


def _leaf(image: Tensor) -> Tensor:
    # captum warns, and changes the caller's tensor, where it has to switch gradients on itself
    return image.detach().clone().requires_grad_(True)


def _filled(image: Tensor, fill: Fill, sigma: float) -> Tensor:
    if fill == "blur":
        return blur(image, sigma)
    return torch.zeros_like(image) if fill == "black" else image.mean((2, 3), keepdim=True).expand_as(image)
