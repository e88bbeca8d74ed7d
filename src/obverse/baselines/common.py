"""What several baselines share: the score that is attributed, blur, and images of each decision."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.explainer import Explainer, Query
from obverse.explanation import NotApplicable

Space = Literal["auto", "features", "pixels"]


def margin(logits: Tensor, target: Tensor) -> Tensor:
    """Return (M,) the logit of `target` minus the largest of the others; positive where it is decided."""
    mine = logits.gather(1, target[:, None]).squeeze(1)
    others = logits.scatter(1, target[:, None], -torch.inf).amax(1)
    return mine - others


def contrast(classifier: Classifier, image: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Return (M,) what speaks for `source` against `target`: the difference of their logits.

    A single class's logit, which the attribution papers take, is no choice here: a one-logit classifier's first class
    always has 0, and shifting all logits would change the map though not the decision. Where nothing is asked (source
    is target) the best other class takes the target's place.
    """
    logits = classifier.logits(image).float()
    asked = logits.gather(1, source[:, None]) - logits.gather(1, target[:, None])
    return torch.where(source == target, margin(logits, source), asked.squeeze(1))


def blur(image: Tensor, sigma: float) -> Tensor:
    """Return the image under a Gaussian of `sigma` pixels, cut at 3 sigma, the border pixel repeated outside."""
    radius = max(1, math.ceil(3 * sigma))
    x = torch.arange(-radius, radius + 1, device=image.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    count, channels, height, width = image.shape
    planes = image.float().reshape(count * channels, 1, height, width)
    with torch.autocast(image.device.type, enabled=False):
        planes = F.conv2d(F.pad(planes, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
        planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return planes.view(image.shape)


def in_parts(function: Callable[..., Tensor], *tensors: Tensor, size: int) -> Tensor:
    """Return `function` of the tensors, `size` rows at a time: bounds memory, changes no value."""
    parts = [function(*rows) for rows in zip(*(tensor.split(size) for tensor in tensors))]
    return torch.cat(parts) if parts else function(*tensors)


def search_logits(classifier: Classifier, image: Tensor) -> Tensor:
    """Return (M, K) float32 logits for a search; on a CPU a few rows at a time, for its caches."""
    size = 16 if image.device.type == "cpu" else max(len(image), 1)
    return in_parts(lambda rows: classifier.logits(rows).float(), image, size=size)


@contextlib.contextmanager
def evaluating(root: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each module's own mode afterwards."""
    modes = [(module, module.training) for module in root.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def counterfactual_of(explainer: Explainer, query: Query, asker: str) -> Tensor:
    """Return (M, C, H, W), another explainer's counterfactual for the same question.

    Raises:
        NotApplicable: it makes none.
    """
    found = explainer.explain(query.image, query.target, seed=query.seed).counterfactual
    if found is None:
        raise NotApplicable(f"explainer: {asker} needs counterfactuals, got {explainer.name}, which makes none; pass "
                            "one that does")  # fmt: skip
    return found


def check_same_classifier(explainer: Explainer, classifier: Classifier, asker: str) -> None:
    """Raise unless an explainer that is used as a part explains the same classifier.

    Raises:
        ValueError: it explains another one.
    """
    if explainer.classifier is not classifier and explainer.classifier.fingerprint != classifier.fingerprint:
        raise ValueError(f"explainer: {explainer.name} explains another classifier than {asker}; build both on the "
                         "same one")  # fmt: skip


class Gallery:
    """Real images by what the classifier decides for them, and where they lie in a feature space.

    Args:
        classifier: decides, and gives the features.
        reference: the images, usually the training split.
        space: "features" is what enters the last linear layer; "auto" takes pixels where there are none.

    Raises:
        ValueError: no images, or images of another shape.
        NotApplicable: features asked of a classifier that has none.
    """

    def __init__(self, classifier: Classifier, reference: Dataset, space: Space = "auto") -> None:
        if len(reference) == 0 or tuple(reference.image_shape) != classifier.image_shape:
            raise ValueError(f"reference: expected images of shape {classifier.image_shape}, got {len(reference)} of "
                             f"{tuple(reference.image_shape)}; pass the classifier's own training images")  # fmt: skip
        self.classifier, self.reference = classifier, reference
        if space == "features" and not classifier.has_gradient:
            raise NotApplicable("space: a black box shows no features; pass space='pixels'")
        self.space = space
        if space != "pixels":
            self.space = "features" if self._has_features(space) else "pixels"

    def _has_features(self, space: Space) -> bool:
        if not self.classifier.has_gradient or self.classifier.has_features:
            return self.classifier.has_gradient
        if space == "features":
            raise NotApplicable("space: the classifier has no linear layer whose features could be compared; pass space='pixels'")
        return False

    @property
    def _at_once(self) -> int:
        """Images whose features are taken together: a million pixels, which bounds memory."""
        return max(1, min(512, 2**20 // math.prod(self.classifier.image_shape[1:])))

    @cached_property
    def decided(self) -> Tensor:
        """(R,) what the classifier decides for every reference image."""
        return self.classifier.posteriors(self.reference).argmax(1)

    def rows(self, target: int) -> Tensor:
        """Return the rows of the reference that are decided `target`.

        Raises:
            ValueError: there are none.
        """
        found = (self.decided == target).nonzero().flatten()
        if len(found) == 0:
            raise ValueError(f"reference: the classifier decides {self.classifier.classes[target]!r} for none of its "
                             f"{len(self.reference)} images; pass images of every class")  # fmt: skip
        return found

    def images(self, rows: Tensor) -> Tensor:
        """Return (M, C, H, W), reference images by row."""
        return self.reference[rows.cpu()].image.to(self.classifier.device)

    @cached_property
    def means(self) -> Tensor:
        """(K, C, H, W) the mean image of each decision; NaN for a class that is never decided."""
        classes = len(self.classifier.classes)
        total = torch.zeros(classes, *self.classifier.image_shape, dtype=torch.float64)
        start = 0
        for batch in self.reference.batches(self._at_once):
            total.index_add_(0, self.decided[start : start + len(batch)], batch.image.double())
            start += len(batch)
        counts = torch.bincount(self.decided, minlength=classes).view(-1, 1, 1, 1)
        return (total / counts).float().to(self.classifier.device)

    def place(self, image: Tensor) -> Tensor:
        """Return (N, D), where images lie in the space."""
        if self.space == "pixels":
            return image.flatten(1)
        return in_parts(self.classifier.features, image, size=self._at_once).float()

    @cached_property
    def places(self) -> Tensor:
        """(R, D) of every reference image."""
        device = self.classifier.device
        with torch.no_grad():
            return torch.cat([self.place(batch.image) for batch in self.reference.batches(self._at_once, device)])

    def nearest(self, image: Tensor, target: Tensor) -> Tensor:
        """Return (M,) the row of the reference image decided `target` that is nearest to each image."""
        place, found = self.place(image), torch.zeros_like(target)
        for wanted in target.unique().tolist():
            rows = self.rows(int(wanted)).to(self.places.device)
            asked = (target == wanted).nonzero().flatten()
            for part in asked.split(64):
                # not by matrix products: their rounding depends on the batch
                distance = torch.cdist(place[part], self.places[rows], compute_mode="donot_use_mm_for_euclid_dist")
                found[part] = rows[distance.argmin(1)]
        return found
