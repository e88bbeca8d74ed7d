"""GenerativeModel: a latent space over the images. LearnedModel: one that `fit` trains."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from obverse.checkpoint import load_tensors, saved
from obverse.classifier import Classifier
from obverse.data.base import Dataset, check_images
from obverse.explanation import NotApplicable
from obverse.modules import default_device, frozen, networks_from
from obverse.networks.blocks import in_parts
from obverse.settings import restore, settings_as_json
from obverse.training import Trainable


class GenerativeModel(ABC):
    """A latent space over the images; a latent is one flat vector, with the class in it where the model is conditional.

    Attributes:
        name: of the kind of model.
        image_shape: (C, H, W).
        latent_size: numbers in a latent.
        classes: names of the classes that can be asked for, or None for an unconditional model.
        has_encoder, has_critic: whether `encode` and `criticise` work.
    """

    name: ClassVar[str]
    image_shape: tuple[int, int, int]
    latent_size: int
    classes: tuple[str, ...] | None = None
    has_encoder: bool = False
    has_critic: bool = False
    _fingerprint: str | None = None  # of a frozen one

    # ------------------------------------------------------------------ what a model writes

    @abstractmethod
    def modules(self) -> list[nn.Module]:
        """Return the networks, whose weights are the model."""

    @abstractmethod
    def _decode(self, latent: Tensor) -> Tensor:
        """Return images in [0, 1]."""

    def _encode(self, image: Tensor) -> Tensor:
        raise NotApplicable(f"encode: {self.name} has no encoder; find latents with obverse.invert(model, image)")

    def _criticise(self, image: Tensor) -> Tensor:
        raise NotApplicable(f"criticise: {self.name} has no critic; switch the adversarial term off (weight 0), or use a "
                            "model that has one (gan)")  # fmt: skip

    def _from_normal(self, normal: Tensor, target: Tensor) -> Tensor:
        """Return latents; `target` is (N,) indices, zeros for an unconditional model."""
        return normal

    def _facts(self) -> list[Any]:
        """What decides the images beside the weights, for the fingerprint."""
        return []

    @property
    def normal_size(self) -> int:
        """How many standard normal numbers `from_normal` makes a latent of."""
        return self.latent_size

    # ------------------------------------------------------------------ what a user calls

    def index(self, name: str) -> int:
        """Return the number of a class that a conditional model can be asked for.

        Raises:
            ValueError: it does not know the class.
        """
        known = self.classes or ()
        if name not in known:
            raise ValueError(f"model: {self.name} cannot be asked for {name!r}, it knows {', '.join(known[:8])}"
                             f"{', ...' if len(known) > 8 else ''}; name the classifier's classes like the model's")  # fmt: skip
        return known.index(name)

    def sample(self, count: int, *, target: int | None = None, seed: int = 0) -> Tensor:
        """Return (count, latent_size) latents from the prior, a function of the seed.

        Args:
            count: how many.
            target: index of the class; for conditional models only, which need it.
            seed: of the noise.

        Raises:
            ValueError, NotApplicable: see `from_normal`.
        """
        normal = torch.randn(count, self.normal_size, generator=torch.Generator().manual_seed(seed))
        return self.from_normal(normal.to(self.device), target)

    def from_normal(self, normal: Tensor, target: int | Tensor | None = None) -> Tensor:
        """Return (N, latent_size) latents made of noise, such as `step.normal` gives in training.

        Args:
            normal: (N, normal_size) standard normal.
            target: index of the class, or (N,) indices; for conditional models only, which need it.

        Raises:
            ValueError: noise of another size, a missing or an unknown class.
            NotApplicable: a class asked of an unconditional model.
        """
        if normal.ndim != 2 or normal.shape[1] != self.normal_size:
            raise ValueError(f"normal: expected (N, {self.normal_size}) for {self.name}, got {tuple(normal.shape)}; "
                             "draw model.normal_size numbers an image")  # fmt: skip
        if self.classes is None:
            if target is not None:
                raise NotApplicable(f"target: {self.name} is not conditional, got {target!r}; sample without a class and "
                                    "keep what the classifier decides as wanted")  # fmt: skip
            return self._from_normal(normal, torch.zeros(len(normal), dtype=torch.int64, device=normal.device))
        if target is None:
            raise ValueError(
                f"target: {self.name} needs one of its {len(self.classes)} classes, got None; pass an index"
            )
        index = torch.as_tensor(target, device=normal.device).expand(len(normal))
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self.classes):
            raise ValueError(f"target: expected indices 0 to {len(self.classes) - 1}, got {int(index.min())} to "
                             f"{int(index.max())}; {self.name} makes no other class")  # fmt: skip
        return self._from_normal(normal, index)

    def decode(self, latent: Tensor) -> Tensor:
        """Return (N, C, H, W) float32 images in [0, 1]; differentiable in the latent.

        Raises:
            ValueError: latents of another size.
        """
        if latent.ndim != 2 or latent.shape[1] != self.latent_size:
            raise ValueError(f"latent: expected (N, {self.latent_size}) for {self.name}, got {tuple(latent.shape)}; take "
                             "latents from the encode or sample of this model")  # fmt: skip
        return (self._decode(latent) if torch.is_grad_enabled() else in_parts(self._decode, latent)).float()

    def project(self, latent: Tensor) -> Tensor:
        """Return the latents (N, latent_size) of the same images that lie where the prior's do; here these themselves."""
        return latent

    def encode(self, image: Tensor) -> Tensor:
        """Return (N, latent_size) latents whose images are close to these; differentiable in the image.

        Raises:
            NotApplicable: no encoder.
            TypeError, ValueError: the image breaks the pixel contract.
        """
        self._check(image)
        return (self._encode(image) if torch.is_grad_enabled() else in_parts(self._encode, image)).float()

    def criticise(self, image: Tensor) -> Tensor:
        """Return (N,) logits, larger for more real; differentiable in the image.

        Raises:
            NotApplicable: no critic.
            TypeError, ValueError: the image breaks the pixel contract.
        """
        self._check(image)
        return self._criticise(image).float()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for module in self.modules() for p in module.parameters()), torch.device("cpu"))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over sorted weight names and bytes, name, shape, latent size, classes and the like."""
        if self._fingerprint is not None:
            return self._fingerprint
        digest = hashlib.sha256()
        for index, module in enumerate(self.modules()):
            for name, value in sorted(module.state_dict().items()):
                digest.update(f"{index} {name}".encode())
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        facts = [self.name, list(self.image_shape), self.latent_size, self.classes and list(self.classes)]
        digest.update(json.dumps(facts + self._facts()).encode())
        return digest.hexdigest()

    def frozen(self, device: torch.device | str | None = None) -> Self:
        """Return a copy that nothing changes any more: evaluation mode, no gradients of its own; itself if it is one."""
        device = self.device if device is None else torch.device(device)
        here = self.device
        if self._fingerprint is not None and (device == here or (device.type == here.type and device.index is None)):
            return self
        copied = copy.deepcopy(self)
        for module in copied.modules():
            frozen(module, device)
        copied._fingerprint = copied.fingerprint
        return copied

    def _check(self, image: Tensor) -> None:
        # one with a gradient was made by a network whose output is clipped: the range holds, only shapes can differ
        if not image.requires_grad:
            check_images(image, self.image_shape)
        elif tuple(image.shape[1:]) != self.image_shape:
            check_images(image.detach(), self.image_shape)


@dataclass(eq=False, kw_only=True)
class LearnedModel(GenerativeModel, Trainable):
    """A generative model whose networks `fit` trains; subclasses are final dataclasses like explainers.

    Args:
        image_shape: (C, H, W).
    """

    image_shape: tuple[int, int, int] = field(kw_only=False)
    networks: nn.ModuleDict = field(init=False, repr=False)
    watched: str | None = field(init=False, repr=False, default=None)
    """Fingerprint of the classifier that training asked."""

    def modules(self) -> list[nn.Module]:
        """Return the networks."""
        return [self.networks]

    def place(
        self, make: Callable[[], Mapping[str, nn.Module]], *, seed: int, device: torch.device | None = None
    ) -> None:
        """Hold the networks that `make` builds, with weights from the seed, on CUDA if there is one and no other is named."""
        self.image_shape = (self.image_shape[0], self.image_shape[1], self.image_shape[2])  # a list compares as another
        self.networks = networks_from(make, seed=seed, device=device or default_device())

    def watch(self, classifier: Classifier | None) -> None:
        """Remember the classifier that training asks.

        Raises:
            ValueError: of other images.
        """
        self.watched = None if classifier is None else classifier.fingerprint
        if classifier is not None and classifier.image_shape != tuple(self.image_shape):
            raise ValueError(f"classifier: expected images of shape {self.image_shape} like the model's, got "
                             f"{classifier.image_shape}; pass one of the same images, or none")  # fmt: skip

    def sheet(self, data: Dataset) -> Tensor:
        """Return a picture with rows of 8 images, their reconstructions, and samples."""
        rows = torch.linspace(0, len(data) - 1, min(8, len(data))).long()
        image = data[rows].image.to(self.device)
        lines = [image, self.decode(self.encode(image)), self.decode(self.sample(len(image)))]
        return torch.cat([torch.cat(list(line), 2) for line in lines], 1)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.networks.parameters()).device

    def describe(self) -> dict[str, Any]:
        """Return kind, image shape and hyperparameters, as JSON can hold them."""
        return {"method": self.name, "image_shape": list(self.image_shape), "hyperparameters": settings_as_json(self)}

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model from `save`, or the best weights from a run folder of `fit`.

        Raises:
            FileNotFoundError: nothing there.
            ValueError: a model of another kind.
        """
        folder, settings = saved(folder)
        if settings["method"] != cls.name:
            raise ValueError(f"{folder}: holds {settings['method']!r}, expected {cls.name!r}; load it with its own "
                             "class, or with obverse.load_model(folder)")  # fmt: skip
        height, width, side = settings["image_shape"]
        model = cls((height, width, side), **restore(cls, settings["hyperparameters"]))
        model.watched = settings.get("classifier")
        model.networks.load_state_dict(load_tensors(folder / "networks.safetensors"))
        model.networks.to(model.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return model
