"""The latents of an image, by the search of medXGAN's eq. 5 (Dravid et al.): the image and what the classifier says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from obverse.classifier import Classifier
from obverse.latent.inversion import Inversion, posterior_gap
from obverse.losses import divergence_each, l1_each
from obverse.models.anatomy import AnatomyModel
from obverse.search import best_restart, minimise


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentSearch:
    """Eq. 5 and how it is minimised; the generator is never touched.

    Args:
        model: whose latents.
        classifier: whose posteriors are matched.
        steps: at most, for each start.
        rate: Adam's learning rate.
        image_weight: of the mean squared error on [0, 1] against the class term.
        patience: steps in which the loss must fall by a hundredth, or the search of that image stops.
        negative: weight of the log loss of the absent class where z2 is taken away (see `negative_term`).
        rows: searches at a time, which bounds memory; None is 64 on a CPU and 512 elsewhere.
    """

    model: AnatomyModel
    classifier: Classifier
    steps: int
    rate: float
    image_weight: float
    patience: int
    negative: float = 0.0
    rows: int | None = None

    def objective(self, latent: Tensor, image: Tensor, posterior: Tensor) -> Tensor:
        """Return (N,) losses of eq. 5, with the divergence of the posteriors, which is its BCE up to a constant."""
        made = self.model.decode(latent)
        divergence = divergence_each(posterior, self.classifier.logits(made))
        return self.image_weight * (made - image).square().flatten(1).mean(1) + divergence  # eq. 5

    def negative_term(self, latent: Tensor, decided: Tensor) -> Tensor:
        """Return (N,) log losses of the absent class for the same anatomies without z2, 0 where it is `decided` (N,) anyway.

        Many latents make an image, and eq. 5 does not say which are meant. In training z1 alone is of the absent class
        (eq. 4); a search that forgets this leaves the evidence in z1, where no change of z2 reaches it.
        """
        loss = latent.new_zeros(len(latent))
        if self.model.absent is None or not bool((decided != self.model.absent).any()):
            return loss
        rows = (decided != self.model.absent).nonzero().flatten()
        absent = torch.full_like(rows, self.model.absent)
        logits = self.classifier.logits(self.model.decode(latent[rows] * self.model.allowed(absent))).float()
        return loss.index_put((rows,), F.cross_entropy(logits, absent, reduction="none"))

    def __call__(self, image: Tensor, start: Tensor) -> Inversion:
        """Search for the latents of images, those of classes that the classifier does not decide kept at 0.

        Args:
            image: (N, C, H, W) in [0, 1].
            start: (R, N, D), R independent starts of each.
        """
        rows = (64 if image.device.type == "cpu" else 512) if self.rows is None else self.rows
        each = max(1, rows // len(start))
        parts = [self._part(*rows) for rows in zip(image.split(each), start.split(each, 1), strict=True)]
        return Inversion(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Inversion)))

    def _part(self, image: Tensor, start: Tensor) -> Inversion:
        restarts, posterior = len(start), self.classifier.posterior(image)
        allowed = self.model.allowed(posterior.argmax(1)).repeat(restarts, 1)
        seen, wanted = image.repeat(restarts, 1, 1, 1), posterior.repeat(restarts, 1)

        decided = posterior.argmax(1).repeat(restarts)

        def objective(latent: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            loss = self.objective(latent, seen[rows], wanted[rows])
            if self.negative:
                loss = loss + self.negative * self.negative_term(latent, decided[rows])
            return loss, loss

        found = minimise(
            objective, start.flatten(0, 1), steps=self.steps, rate=self.rate,
            project=lambda latent, rows: latent * allowed[rows], settled=_settled(len(decided), image.device),
            check_every=self.patience,
        )  # fmt: skip
        best = best_restart(found, restarts)
        with torch.no_grad():
            made = self.model.decode(best.value)
        residual, gap = l1_each(made, image), posterior_gap(self.classifier, image, made)
        return Inversion(best.value, made, residual, gap, best.steps, best.steps < self.steps)


def _settled(count: int, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a question about losses, answered yes for rows, of so many, whose loss fell by less than a hundredth since last."""
    last = torch.full((count,), torch.inf, device=device)

    def settled(loss: Tensor, rows: Tensor) -> Tensor:
        finished = loss > 0.99 * last[rows]
        last[rows] = loss.float()
        return finished

    return settled
