"""Finding the latent of an image by search, where a model has no encoder, or to better what the encoder found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.explanation import NotApplicable
from obverse.generative import GenerativeModel
from obverse.losses import divergence_each, l1_each
from obverse.search import best_restart, minimise

Start = Literal["auto", "encoder", "prior"]


@dataclass(frozen=True)
class Inversion:
    """Latents found for images, one row an image.

    Args:
        latent: (N, D).
        image: (N, C, H, W) in [0, 1], what the model makes of them.
        residual: (N,) mean absolute error of that image.
        posterior_gap: (N,) how far the classifier's posterior of the class decided for the image is from the one it gives that
            image, in [0, 1]; None without a classifier.
        steps: (N,) of the best restart.
        stopped: (N,) bool, good enough (of medXGAN's search: no longer getting better) before the steps ran out; how good is
            the residual's to say.
    """

    latent: Tensor
    image: Tensor
    residual: Tensor
    posterior_gap: Tensor | None
    steps: Tensor
    stopped: Tensor


@torch.inference_mode(False)  # in which a search would have no gradient
def invert(
    model: GenerativeModel,
    image: Tensor,
    *,
    classifier: Classifier | None = None,
    target: Tensor | None = None,
    start: Start = "auto",
    restarts: int = 1,
    steps: int = 200,
    rate: float = 0.05,
    features: float = 0.1,
    decision: float = 0.1,
    enough: float = 0.01,
    most_gap: float = 0.1,
    seed: int = 0,
    before: Tensor | None = None,
) -> Inversion:
    """Return the latents whose images are closest: z* = argmin L(G(z), x) (C3LT section 3.3), all images at once.

    The loss is the mean absolute error of the pixels plus, with a classifier, the relative error of its features (where it
    has any) and the divergence of its posteriors. An image is done when it is good enough; the best of all restarts and
    steps counts.

    Args:
        model: decodes.
        image: (N, C, H, W) in [0, 1].
        classifier: whose view of the image is to be kept; without a gradient it only measures the gap.
        target: (N,) classes for the starts of a conditional model; None takes those that the classifier decides, by name.
        start: from the encoder's latent, or from noise, the same for every image; "auto" is the encoder where there is
            one. Restarts after the first always start from noise.
        restarts: searches an image.
        steps: at most, each.
        rate: Adam's.
        features: weight of the classifier's features; a classifier without a linear layer has none, and the weight is 0.
        decision: weight of its posteriors.
        enough: residual at which an image is done,
        most_gap: if the posterior is no further off than this.
        seed: of the noise.
        before: (N, K) the classifier's posterior of the images, where it is known.

    Raises:
        ValueError: impossible numbers; an unknown start; another number of targets than images; a conditional model that starts
            from noise without `target` and classifier, or does not know a class; images of another shape or range.
        NotApplicable: start="encoder" for a model that has none.
    """
    at_least = {"restarts": (restarts, 1), "steps": (steps, 1), "rate": (rate, 1e-12), "features": (features, 0),
                "decision": (decision, 0), "enough": (enough, 0), "most_gap": (most_gap, 0)}  # fmt: skip
    for name, (value, least) in at_least.items():
        if value < least:
            raise ValueError(f"{name}: expected at least {least:g}, got {value:g}; leave it out for the default")
    if start not in get_args(Start):
        raise ValueError(f"start: expected one of {', '.join(get_args(Start))}, got {start!r}; leave it out for auto")
    if start == "encoder" and not model.has_encoder:
        raise NotApplicable(f"start: {model.name} has no encoder; pass start='prior'")
    model._check(image)
    count = len(image)
    if target is not None and tuple(target.shape) != (count,):
        raise ValueError(f"target: expected ({count},) indices, one an image, got {tuple(target.shape)}; leave it out for what "
                         "the classifier decides")  # fmt: skip
    if classifier is not None and model.device.type != classifier.device.type:
        model = model.frozen(classifier.device)  # a foreign generator stays where it was made
    image = image.detach().to(model.device)
    image = image.clone() if image.is_inference() else image
    view = _View(classifier, image, features, decision, before)
    with torch.no_grad():
        known = [model.encode(image)] if model.has_encoder and start != "prior" else []
        drawn = range(len(known), restarts)
        if drawn and target is None and view.posterior is not None and classifier is not None and model.classes is not None:
            names = [classifier.classes[k] for k in view.posterior.argmax(1).tolist()]
            target = torch.tensor([model.index(name) for name in names], device=image.device)
        starts = torch.cat([*known, *(_noise(model, target, count, seed * 1_000_003 + k) for k in drawn)])

    def objective(value: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        made, query = model.decode(value), rows % count
        away = l1_each(made, image[query])
        loss, gap = view(made, query)
        return away + loss, (away <= enough) & (gap <= most_gap)

    found = minimise(objective, starts, steps=steps, rate=rate, done=lambda good, rows: good)
    found = best_restart(found, restarts)
    with torch.no_grad():
        latent = model.project(found.value)
        made = model.decode(latent)
    residual = l1_each(made, image)
    gap = None if classifier is None else posterior_gap(classifier, image, made, view.posterior)
    return Inversion(latent, made, residual, gap, found.steps, found.stopped)


def located(
    model: GenerativeModel, image: Tensor, classifier: Classifier, *, steps: int, restarts: int = 1, seed: int = 0,
    before: Tensor | None = None, gap: bool = True,
) -> Inversion:  # fmt: skip
    """Return the encoder's latents of images, or with steps of search those that `invert` finds.

    Args:
        model: decodes; without steps it has an encoder.
        image: (N, C, H, W) in [0, 1].
        classifier: measures how far the posterior is off, and in a search keeps it.
        steps, restarts, seed: of the search.
        before: (N, K) the classifier's posterior of the images, where it is known.
        gap: whether the posterior gap of what an encoder found is wanted, which costs the classifier a pass.
    """
    if steps:
        return invert(model, image, classifier=classifier, steps=steps, restarts=restarts, seed=seed, before=before)
    latent = model.encode(image)
    made = model.decode(latent)
    none = torch.zeros(len(image), dtype=torch.int64, device=image.device)
    off = posterior_gap(classifier, image, made, before) if gap else None
    return Inversion(latent, made, l1_each(made, image), off, none, none > 0)


def posterior_gap(classifier: Classifier, image: Tensor, made: Tensor, before: Tensor | None = None) -> Tensor:
    """Return (N,) how far the posterior of the class decided for each image is from that of what a model made of it."""
    with torch.no_grad():
        return _gap(classifier.posterior(image) if before is None else before, classifier.posterior(made))


def _gap(before: Tensor, after: Tensor) -> Tensor:
    source = before.argmax(1, keepdim=True)
    return (before.gather(1, source) - after.gather(1, source)).abs().squeeze(1)


class _View:
    """What a classifier sees in the images, to compare with; without one, nothing; posteriors alone if it has no features."""

    def __init__(
        self, classifier: Classifier | None, image: Tensor, features: float, decision: float, before: Tensor | None = None
    ) -> None:
        self.classifier, self.posterior = classifier, before
        asks = classifier is not None and classifier.has_gradient
        self.features, self.decision = (features, decision) if asks else (0.0, 0.0)
        if classifier is None:
            return
        if self.features and not classifier.has_features:
            self.features = 0.0
        with torch.no_grad():
            if self.features:
                self.seen = classifier.features(image).float()
            if before is None:
                self.posterior = classifier.posterior(image)

    def __call__(self, made: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return (M,) the terms of features and posteriors, and (M,) gaps of the posterior, 0 without a classifier."""
        total = made.new_zeros(len(made))
        if self.classifier is None or self.posterior is None:
            return total, torch.zeros_like(total)
        wanted = self.posterior[query]
        if self.features:
            seen = self.seen[query]
            away = (self.classifier.features(made).float() - seen).abs().mean(1)
            total = total + self.features * away / seen.abs().mean(1).clamp_min(1e-6)
        if self.decision:
            logits = self.classifier.logits(made).float()
            total, got = total + self.decision * divergence_each(wanted, logits), logits.detach().softmax(1)
        else:
            with torch.no_grad():
                got = self.classifier.posterior(made.detach())
        return total, _gap(wanted, got)


def _noise(model: GenerativeModel, target: Tensor | None, count: int, seed: int) -> Tensor:
    """One draw, the same for every image, so that an answer does not depend on its batch mates."""
    normal = torch.randn(1, model.normal_size, generator=torch.Generator().manual_seed(seed))
    if model.classes is not None and target is None:
        raise ValueError(
            f"target: {model.name} needs a class for each image to start from, got None; pass (N,) indices or a classifier"
        )
    return model.from_normal(normal.to(model.device).expand(count, -1), target)
