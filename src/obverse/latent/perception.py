"""What inner layers of a classifier see in an image, for distances that people would agree with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from obverse.classifier import Classifier
from obverse.explanation import NotApplicable


class Perception:
    """Activations of layers of a classifier (the f^l of C3LT eq. 6), differentiable in the image.

    Args:
        classifier: any, with a gradient.
        layers: names of modules; None takes, at each size of feature map, the last convolution of that size, which in a
            plain network of blocks are the convolutions before each pooling.

    Raises:
        NotApplicable: a classifier without a gradient.
        ValueError: an unknown layer, or one that does not run or returns no tensor.
    """

    def __init__(self, classifier: Classifier, layers: tuple[str, ...] | None = None) -> None:
        if not classifier.has_gradient:
            raise NotApplicable("perception: expected a classifier with a gradient, got a black box; pass one that wraps a "
                                "module, or none, which takes the classifier under explanation")  # fmt: skip
        self.classifier = classifier
        modules = dict(classifier.module.named_modules())
        if layers is None:
            ran = self._run({name: m for name, m in modules.items() if isinstance(m, nn.Conv2d)}, self._blank())
            last = {tuple(value.shape[2:]): name for name, value in ran.items()}
            layers = tuple(last.values())
        for name in layers:
            if name not in modules or name == "":
                raise ValueError(f"layers: expected names of modules of {type(classifier.module).__name__} such as "
                                 f"{', '.join([n for n in modules if n][:8])}, got {name!r}")  # fmt: skip
        self.layers = layers
        self._modules = {name: modules[name] for name in layers}
        missing = [name for name in layers if name not in self._run(self._modules, self._blank())]
        if missing:
            raise ValueError(f"layers: {missing[0]!r} does not run, or returns no tensor; name another layer")

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the positive part of each layer's output, in the precision in which it runs."""
        if not self.layers:
            return []
        ran = self._run(self._modules, image)
        return [ran[name] for name in self.layers]

    def distances(self, made: Tensor, image: Tensor) -> list[Tensor]:
        """Return the mean absolute difference of each layer's positive parts; the gradient is to `made` alone."""
        return [MeanDistance.apply(one, other) for one, other in zip(self(made), self(image.detach()))]  # type: ignore[no-untyped-call]

    def _blank(self) -> Tensor:
        return torch.zeros(1, *self.classifier.image_shape, device=self.classifier.device)

    def _run(self, modules: dict[str, nn.Module], image: Tensor) -> dict[str, Tensor]:
        """Return the positive part of each of these modules' output, in the order in which they run."""
        found: dict[str, Tensor] = {}

        def keep(name: str, output: object) -> None:
            if isinstance(output, Tensor):
                found[name] = output.relu()  # a copy: what follows may work in place

        handles = [
            module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
            for name, module in modules.items()
        ]
        try:
            with torch.set_grad_enabled(image.requires_grad and torch.is_grad_enabled()):
                self.classifier.logits(image)
        finally:
            for handle in handles:
                handle.remove()
        return found


class MeanDistance(torch.autograd.Function):
    """The mean of |one - other|, summed in float32, with a gradient to the first.

    Feature maps are large, and a step waits for memory: this goes over them half as often as autograd would.
    """

    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor) -> Tensor:
        """Return the mean."""
        difference = one - other
        mean = difference.abs().mean(dtype=torch.float32)
        ctx.save_for_backward(difference.sign_())
        return mean

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return the gradient to the first."""
        (sign,) = ctx.saved_tensors
        return sign * (grads[0] / sign.numel()).to(sign.dtype), None
