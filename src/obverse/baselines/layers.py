"""Which layer still knows where things are: found by a probe, or named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.baselines.common import evaluating, margin
from obverse.classifier import Classifier
from obverse.explanation import NotApplicable

OTHERS = "gradient, smoothgrad, integrated_gradients, occlusion and bbmp for maps, pgd, wachter, cem and nearest for images"


@dataclass(frozen=True, eq=False)
class SpatialLayer:
    """A layer whose output has a place for every cell of the image.

    Args:
        name: in `classifier.module.named_modules()`.
        module: itself.
        grid: (height, width) in cells.
        prefix: tokens before the first cell, as a class token; None for a layer that returns (N, D, h, w) or (N, h, w, D).
        channels_last: whether it returns (N, h, w, D).
    """

    name: str
    module: nn.Module
    grid: tuple[int, int]
    prefix: int | None
    channels_last: bool = False

    def cells(self, output: Tensor) -> Tensor:
        """Return the output as (N, D, h, w)."""
        if self.prefix is None:
            return output.permute(0, 3, 1, 2) if self.channels_last else output
        tokens = output[:, self.prefix :]
        return tokens.transpose(1, 2).reshape(len(output), -1, *self.grid)

    def output(self, cells: Tensor, like: Tensor) -> Tensor:
        """Return cells (N, D, h, w) in the form of the layer's own output; class tokens are taken from `like`."""
        if self.prefix is None:
            return cells.permute(0, 2, 3, 1) if self.channels_last else cells
        return torch.cat([like[:, : self.prefix], cells.flatten(2).transpose(1, 2)], 1)


def spatial_layers(classifier: Classifier, *, growing: bool = False) -> list[SpatialLayer]:
    """Return the layers with spatial output that the decision depends on, in the order they run.

    A layer counts that runs once a pass, returns one tensor (N, D, h, w), (N, h, w, D) (whichever is nearer to the image's
    shape) or tokens (N, T, D) of more than one cell, and whose cells the gradient reaches: the patch tokens after a
    transformer's last attention lead nowhere.

    Args:
        classifier: whose.
        growing: whether a layer may have more cells than one before it. What looks like one is mostly none: an attention's
            heads, or channels that were flattened out.
    """
    calls: list[tuple[nn.Module, Tensor]] = []
    counts: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: object, output: object) -> Tensor | None:
        counts[module] = counts.get(module, 0) + 1
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            return None
        calls.append((module, output))
        return output.clone()  # what follows may work in place, as a reused ReLU does

    # a TorchScript program takes no hooks
    parts = [pair for pair in classifier.module.named_modules() if pair[0] and not isinstance(pair[1], torch.jit.ScriptModule)]
    names = {module: name for name, module in parts}
    probe = torch.rand(2, *classifier.image_shape, generator=torch.Generator().manual_seed(0)).to(classifier.device)
    handles = [module.register_forward_hook(note) for module in names]
    try:
        with torch.enable_grad(), evaluating(classifier.module):
            logits = classifier.logits(probe.requires_grad_(True))
    finally:
        for handle in handles:
            handle.remove()
    score = margin(logits, logits.argmax(1)).sum()
    once = [(m, out) for m, out in calls if counts[m] == 1 and out.requires_grad and len(out) == len(probe)]
    gradients = torch.autograd.grad(score, [out for _, out in once], allow_unused=True) if once else ()
    found: list[SpatialLayer] = []
    most = classifier.image_shape[1] * classifier.image_shape[2]
    for (module, output), gradient in zip(once, gradients):
        shape = _grid(output, classifier.image_shape, most)
        if shape is None or gradient is None:
            continue
        layer = SpatialLayer(names[module], module, *shape)
        if bool(layer.cells(gradient).abs().sum() > 0):
            found.append(layer)
            most = most if growing else math.prod(layer.grid)
    return found


def spatial_layer(
    classifier: Classifier, name: str, asker: str, suits: Callable[[SpatialLayer], bool] | None = None
) -> SpatialLayer:
    """Return the layer of that name, or for "" the last one (that suits).

    Raises:
        NotApplicable: no layer with spatial output.
        ValueError: a name that is not one of those layers.
    """
    layers = spatial_layers(classifier, growing=bool(name))
    if not layers:
        raise NotApplicable(f"{asker}: the classifier has no layer with spatial output that runs once a pass; use one "
                            f"that needs none: {OTHERS}")  # fmt: skip
    usable = layers if suits is None else [layer for layer in layers if suits(layer)]
    if name:
        chosen = [layer for layer in usable if layer.name == name]
        if not chosen:
            names = ", ".join(repr(layer.name) for layer in usable[-8:])
            raise ValueError(f"layer: expected a layer that runs once, has spatial output and leads to the decision, "
                             f"got {name!r}; the last that {asker} can use: {names or 'none'}")  # fmt: skip
        return chosen[-1]
    if not usable:
        names = ", ".join(repr(layer.name) for layer in layers[-4:])
        raise NotApplicable(f"{asker}: other paths bypass every layer with spatial output ({names}); use one "
                            f"that needs none: {OTHERS}")  # fmt: skip
    return usable[-1]


def activation_and_gradient(
    layer: SpatialLayer, image: Tensor, score: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the layer's cells (N, D, h, w) and the gradient of `score` (images to (N,)) in them."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, __: object, output: Tensor) -> Tensor:
        caught.append(output)
        return output.clone()

    handle = layer.module.register_forward_hook(catch)
    try:
        with torch.enable_grad():
            value = score(image.detach().clone().requires_grad_(True))
            (gradient,) = torch.autograd.grad(value.sum(), caught[-1])
    finally:
        handle.remove()
    return layer.cells(caught[-1].detach()).float(), layer.cells(gradient).float()


def upsampled(cells: Tensor, image: Tensor) -> Tensor:
    """Return (N, 1, h, w) at the size of the image, bilinear."""
    return F.interpolate(cells, size=image.shape[-2:], mode="bilinear", align_corners=False)


def _grid(
    output: Tensor, shape: tuple[int, int, int], most: int
) -> tuple[tuple[int, int], int | None, bool] | None:
    """Return grid, prefix and whether channels come last, for an output of at most so many cells; None if it has no places."""
    if output.ndim == 4:
        sides = {last: (int(output.shape[2 - last]), int(output.shape[3 - last])) for last in (False, True)}
        fitting = [last for last, (height, width) in sides.items() if 1 < height * width <= most]
        if not fitting:
            return None
        # borders cut by convolutions and odd sides leave the image's shape only nearly
        last = min(fitting, key=lambda last: abs(math.log(sides[last][0] * shape[2] / (sides[last][1] * shape[1]))))
        return sides[last], None, last
    for prefix in (0, 1, 2, 5):  # none; a class token; class and distillation; class and four registers
        count = int(output.shape[1]) - prefix
        height = round(math.sqrt(count * shape[1] / shape[2])) if count > 1 else 0
        if 1 < count <= most and height and count % height == 0 and height * shape[2] == count // height * shape[1]:
            return (height, count // height), prefix, False
    return None
