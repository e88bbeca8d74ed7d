"""Latent integrated gradients (Dravid et al., medXGAN, section 4.2): integrated gradients along images, not pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Form = Literal["walk", "printed"]


def latent_gradients(
    decode: Callable[[Tensor], Tensor], score: Callable[[Tensor], Tensor], start: Tensor, end: Tensor, *,
    steps: int = 100, form: Form = "walk",
) -> Tensor:  # fmt: skip
    """Attribute a score's rise along the decoded images of a straight walk through the latent space to pixels.

    "printed" is eq. 7: the difference of the end images times the mean gradient. Its sum is not the rise, since the
    images between do not lie on the straight line between the end images. "walk" is the integral along the images that
    are met, the sum of gradient times (next image - image); its sum is score(end) - score(start) up to the step size.
    Deviation from the released code: one score all the way, where it switches to whatever class is decided on the way.

    Args:
        decode: latents (N, D) to images (N, C, H, W).
        score: images to (N,) numbers, differentiable.
        start, end: (N, D), e.g. with z2 = 0 and the image's own.
        steps: of the walk; the trapezoid rule needs one gradient more.
        form: which integral.

    Returns:
        (N, C, H, W) signed attributions, in the score's units.

    Raises:
        ValueError: fewer than 1 step, or an unknown form.
    """
    if steps < 1 or form not in ("walk", "printed"):
        raise ValueError(f"steps, form: expected at least 1 and 'walk' or 'printed', got {steps} and {form!r}; "
                         "100 steps are accurate to a few per mille")  # fmt: skip
    image, gradient = _image_and_gradient(decode, score, start)
    first, total = image, torch.zeros_like(image)
    for k in range(1, steps + 1):
        before, slope = image, gradient
        image, gradient = _image_and_gradient(decode, score, start.lerp(end, k / steps))
        mean = 0.5 * (slope + gradient)  # the trapezoid rule
        total += mean * (image - before) if form == "walk" else mean / steps
    return total if form == "walk" else (image - first) * total  # eq. 7


def _image_and_gradient(
    decode: Callable[[Tensor], Tensor], score: Callable[[Tensor], Tensor], latent: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        image = decode(latent).float()
    with torch.enable_grad():
        leaf = image.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(score(leaf).sum(), leaf)
    return image, gradient.float()
