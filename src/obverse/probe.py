"""Whether a module can be explained as announced: a few images are run through it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from obverse.modules import last_operation, reached

if TYPE_CHECKING:
    from obverse.classifier import Classifier
    from obverse.generative import GenerativeModel

WITHOUT_GRADIENT = (
    "occlusion, cxplain, nearest, cxgan, cxgan_cascaded, cyclegan, vagan, and all controls but adversarial_noise "
    "(see obverse.BASELINES)"
)
"""Named when a method that needs a gradient meets a classifier that has none."""


def check_bare(explainer: Any) -> None:
    """Refuse a bare module where an explainer holds a generative model or a classifier.

    Raises:
        TypeError: there is one.
    """
    for field in dataclasses.fields(explainer):
        part = getattr(explainer, field.name) if field.init and not field.kw_only else None
        if not isinstance(part, nn.Module) or hasattr(part, "fingerprint"):  # a model of the user's may be a module itself
            continue
        for kind, wrap in (("GenerativeModel", "obverse.Adapter"), ("Classifier", "obverse.Classifier")):
            if kind in str(field.type):
                raise TypeError(f"{field.name}: expected {field.type}, got a bare {type(part).__name__}; wrap it with {wrap}")


def check_part(name: str, part: Classifier | GenerativeModel, classifier: Classifier) -> None:
    """Refuse a part of an explainer that does not go with the classifier under explanation.

    Raises:
        ValueError: a part for other images, or on another kind of device.
    """
    if part.image_shape != classifier.image_shape:
        raise ValueError(f"{name}: expected images of shape {classifier.image_shape} like the classifier's, got "
                         f"{part.image_shape}; pass one made for the same images")  # fmt: skip
    if part.device.type != classifier.device.type:
        raise ValueError(f"{name}: expected it on {classifier.device.type} like the classifier, got {part.device.type}; make it "
                         f"with device={classifier.device.type!r}")  # fmt: skip


def check_module(classifier: Classifier, normalised: Callable[[Tensor], Tensor]) -> None:
    """Run a few images through and refuse a module that cannot be explained as announced.

    Args:
        classifier: all but ready.
        normalised: images as its module sees them, with a graph.

    Raises:
        ValueError: an output of another shape or range, or a gradient that does not reach the image.
        TypeError: an output that is no tensor.
    """
    noise = torch.rand(4, *classifier.image_shape, generator=torch.Generator().manual_seed(0)).to(classifier.device)
    probe = torch.cat([noise, torch.zeros_like(noise[:1]), torch.ones_like(noise[:1])]).requires_grad_(True)
    try:
        with torch.enable_grad():
            out = classifier.module(normalised(probe))
    except RuntimeError as error:
        raise ValueError(f"image_shape: the module failed on images of shape {classifier.image_shape}: {error}; "
                         "pass the (C, H, W) it was trained on") from error  # fmt: skip
    if not isinstance(out, Tensor):
        raise TypeError(f"module: expected a tensor (N, K), got {type(out).__name__}; wrap it to return the logits")
    values, width = out.detach().float(), 1 if out.ndim < 2 else out.shape[-1]
    count = len(classifier.classes)
    single = width == 1 and count == 2 and classifier.head == "softmax"
    if out.ndim not in (1, 2) or out.shape[0] != len(probe) or not (width == count or single):
        allowed = f"(N, {count})" + (" or (N, 1)" if count == 2 and classifier.head == "softmax" else "")
        raise ValueError(f"classes: {count} names need outputs of shape {allowed}, got {tuple(out.shape)} for "
                         f"{len(probe)} images; name one class an output")  # fmt: skip
    if not bool(torch.isfinite(values).all()):
        raise ValueError("module: its outputs hold NaN or infinity; check its weights and normalisation")
    within = bool(((values >= 0) & (values <= 1)).all())
    whole = width > 1 and within and bool(((values.sum(1) - 1).abs() < 1e-3).all())
    last = last_operation(out)
    if classifier.outputs == "logits" and (whole or last.startswith(("SigmoidBackward", "SoftmaxBackward"))):
        raise ValueError("outputs: the module returns probabilities, but outputs='logits' was announced; "
                         "pass outputs='probabilities'")  # fmt: skip
    if classifier.outputs == "probabilities" and not within:
        raise ValueError(f"outputs: outputs='probabilities' was announced, but the module returned "
                         f"{float(values.min()):.3g} to {float(values.max()):.3g}; pass outputs='logits'")  # fmt: skip
    try:
        useful = not classifier.has_gradient or reached(probe, out)
    except RuntimeError as error:
        raise ValueError(f"module: no gradient can be taken through it: {error}; set inplace=False in its layers, or use "
                         f"Classifier.black_box, which works with the methods that need no gradient: {WITHOUT_GRADIENT}"
                         ) from error  # fmt: skip
    if not useful:
        raise ValueError("module: the image's gradient does not reach its outputs (no_grad, rounding or numpy "
                         "inside?); use Classifier.black_box, which works with the methods that need no "
                         f"gradient: {WITHOUT_GRADIENT}")  # fmt: skip
