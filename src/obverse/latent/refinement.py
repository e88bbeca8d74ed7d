"""From an answer in the latent space to one that is decided as asked: a few steps of search."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from obverse.classifier import Classifier
from obverse.explanation import as_saved
from obverse.generative import GenerativeModel
from obverse.losses import l1_each
from obverse.networks.walk import to_norm
from obverse.search import Minimum, minimise


def surely(classifier: Classifier, image: Tensor, target: Tensor, posterior: float) -> Tensor:
    """Return (N,) bool: the image, as it would be saved, is decided `target` with at least this posterior."""
    found = classifier.posterior(as_saved(image))
    return (found.gather(1, target[:, None]).squeeze(1) >= posterior) & (found.argmax(1) == target)


def refine(
    model: GenerativeModel,
    classifier: Classifier,
    latent: Tensor,
    image: Tensor,
    target: Tensor,
    *,
    posterior: float,
    steps: int,
    rate: float = 0.05,
    proximity: float = 0.1,
    shown: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Minimum:
    """Move each latent until its image, as it would be saved, is decided `target` with at least this posterior.

    A latent that is good enough at the start stays as it is; one that never is comes back as the best one seen, and its
    row of `stopped` is False. Every latent keeps its norm, as on the walks of C3LT.

    Args:
        model: decodes.
        classifier: decides.
        latent: (N, D) where the search starts.
        image: (N, C, H, W) that the result should stay close to.
        target: (N,) wanted classes.
        posterior: wanted, in (0, 1).
        steps: at most.
        rate: Adam's.
        proximity: weight of the mean absolute distance to `image`, against the cross entropy of the target; a large one
            can keep the target out of reach.
        shown: (pictures of the model, rows) to the images that are judged, None for these pictures.

    Raises:
        ValueError: a posterior outside (0, 1).
    """
    if not 0 < posterior < 1:
        raise ValueError(f"posterior: expected a probability between 0 and 1, got {posterior:g}; pass e.g. 0.9")
    norm = latent.norm(dim=1, keepdim=True)

    # the norm is taken inside: projecting after each step would undo what Adam, which scales every number for itself, does
    def images(value: Tensor, rows: Tensor) -> Tensor:
        made = model.decode(to_norm(value, norm[rows]))
        return made if shown is None else shown(made, rows)

    def objective(value: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        made = images(value, rows)
        wrong = F.cross_entropy(classifier.logits(made).float(), target[rows], reduction="none")
        return wrong + proximity * l1_each(made, image[rows]), made

    def done(made: Tensor, rows: Tensor) -> Tensor:
        return surely(classifier, made, target[rows], posterior)

    if len(latent) == 0:
        return Minimum(latent, latent.new_zeros(0), target, torch.zeros(0, dtype=torch.bool, device=latent.device))
    found = minimise(objective, latent, steps=steps, rate=rate, done=done)
    moved = (found.value != latent).any(1, keepdim=True)
    return dataclasses.replace(found, value=torch.where(moved, to_norm(found.value, norm), latent))
