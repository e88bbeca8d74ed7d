"""Foreign generators behind the interface of `GenerativeModel`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from obverse.generative import GenerativeModel
from obverse.modules import frozen
from obverse.networks.blocks import clip

Outputs = Literal["logits", "probabilities"]
PROBES = 16


class Adapter(GenerativeModel):
    """Any generator, with its encoder and critic where it has them; the only place where its pixels are rescaled.

    The modules are copied and frozen. A module may have a method for its part (`decode`, `encode`, `criticise`); one
    without is called. `encoder` and `critic` may be left out where the generator has those methods itself.

    Args:
        generator: (N, latent_size) latents to (N, C, H, W) images.
        image_shape: (C, H, W).
        latent_size: numbers in a latent.
        pixels: least and greatest value of a pixel in the generator's images, e.g. (-1, 1) after a tanh.
        encoder: images, with those pixels, to latents.
        critic: images, with those pixels, to (N,) or (N, 1) opinions, larger for more real.
        critic_outputs: "logits", or "probabilities" where the critic ends in a sigmoid.
        prior: standard normal noise (N, latent_size) to latents, a module (copied too) or a function; None takes the noise
            itself.
        name: for messages and the fingerprint.

    Raises:
        TypeError: no module.
        ValueError: images of another shape or outside `pixels`, latents of another size, or an encoder that does not
            belong to this generator: it finds its images no better than by chance.
    """

    name = "adapter"

    def __init__(
        self, generator: nn.Module, *, image_shape: tuple[int, int, int], latent_size: int,
        pixels: tuple[float, float], encoder: nn.Module | None = None, critic: nn.Module | None = None,
        critic_outputs: Outputs = "logits", prior: Callable[[Tensor], Tensor] | None = None, name: str = "adapter",
    ) -> None:  # fmt: skip
        self.name = name  # type: ignore[misc]
        self.image_shape, self.latent_size = image_shape, latent_size
        self.low, self.high = pixels
        if self.high <= self.low:
            raise ValueError(f"pixels: expected the least and the greatest value, got {pixels}; pass e.g. (-1, 1)")
        generator = copied(generator, "generator")
        self._generator = generator
        self._encoder = copied(encoder, "encoder") if encoder is not None else _if_it_has(generator, "encode")
        self._critic = copied(critic, "critic") if critic is not None else _if_it_has(generator, "criticise")
        self.has_encoder, self.has_critic = self._encoder is not None, self._critic is not None
        self.critic_outputs = critic_outputs
        self.prior = copied(prior, "prior") if isinstance(prior, nn.Module) else prior
        self._probe()
        self._fingerprint = self.fingerprint  # nothing changes it any more

    def modules(self) -> list[nn.Module]:
        """Return the networks, each once."""
        parts = [self._generator, self._encoder, self._critic, self.prior]
        return list(dict.fromkeys(part for part in parts if isinstance(part, nn.Module)))

    def _from_normal(self, normal: Tensor, target: Tensor) -> Tensor:
        return normal if self.prior is None else self.prior(normal)

    def _decode(self, latent: Tensor) -> Tensor:
        made: Tensor = getattr(self._generator, "decode", self._generator)(latent)
        return clip((made.float() - self.low) / (self.high - self.low))  # what rounding leaves outside

    def _encode(self, image: Tensor) -> Tensor:
        if self._encoder is None:
            return super()._encode(image)
        latent: Tensor = getattr(self._encoder, "encode", self._encoder)(self._as_theirs(image))
        return latent

    def _criticise(self, image: Tensor) -> Tensor:
        if self._critic is None:
            return super()._criticise(image)
        opinion: Tensor = getattr(self._critic, "criticise", self._critic)(self._as_theirs(image))
        opinion = opinion.reshape(len(image), -1).squeeze(1)
        if self.critic_outputs == "probabilities":
            small = torch.finfo(torch.float32).eps
            opinion = torch.logit(opinion.float().clamp(small, 1 - small))
        return opinion

    def _facts(self) -> list[Any]:
        return [self.low, self.high, self.critic_outputs]

    def _as_theirs(self, image: Tensor) -> Tensor:
        return image * (self.high - self.low) + self.low

    def _probe(self) -> None:
        """Run a few samples through everything and refuse what is not as announced."""
        with torch.no_grad():
            latent = self.sample(PROBES)
            if tuple(latent.shape) != (PROBES, self.latent_size):
                raise ValueError(f"prior: expected latents of shape (N, {self.latent_size}), got {tuple(latent.shape)}")
            try:
                made = getattr(self._generator, "decode", self._generator)(latent)
            except RuntimeError as error:
                raise ValueError(f"latent_size: the generator failed on latents of size {self.latent_size}: {error}; pass "
                                 "the size it was trained with, and a module that takes (N, latent_size)") from error  # fmt: skip
            check_made(made, self.image_shape, (self.low, self.high))
            image = self._decode(latent)
            if self.has_encoder:
                self._check_encoder(image)
            if self.has_critic and self._criticise(image).shape != (PROBES,):
                raise ValueError(f"critic: expected one number an image, got {tuple(self._criticise(image).shape)} for "
                                 f"{PROBES} images; wrap it to return (N,) opinions")  # fmt: skip

    def _check_encoder(self, image: Tensor) -> None:
        code = self._encode(image)
        if tuple(code.shape) != (PROBES, self.latent_size):
            raise ValueError(f"encoder: expected latents of shape (N, {self.latent_size}) like the generator's, got "
                             f"{tuple(code.shape)}; pass the encoder that was trained for it")  # fmt: skip
        # an encoder of another generator finds an image's own latent no better than any other image's
        errors = torch.cdist(image.flatten(1), self._decode(code).flatten(1), p=1) / image[0].numel()
        own = float(errors.diagonal().mean())
        others = float((errors.sum() - errors.diagonal().sum()) / (PROBES * (PROBES - 1)))
        if not own < 0.9 * others:
            raise ValueError(f"encoder: images of the generator come back with an error of {own:.3g}, and as other images "
                             f"with one of {others:.3g}; pass the encoder that was trained for this generator")  # fmt: skip


class BigGAN(GenerativeModel):
    """BigGAN-deep behind the interface of its public PyTorch port; a latent is 128 numbers of noise and 128 of the class.

    Noise is normal, cut at two deviations and scaled by the truncation (C3LT section 4.1: 0.4).

    Args:
        module: the port's `BigGAN`, with `config.z_dim`, `config.output_dim`, `config.num_classes`, `embeddings`, and
            `generator(latent, truncation)` with pixels in [-1, 1].
        classes: names, in the order of its classes; default their numbers.
        truncation: in (0, 1].

    Raises:
        TypeError: no module.
        ValueError: a truncation outside (0, 1], another number of names, or a module without these parts.
    """

    name: ClassVar[str] = "biggan-deep"

    def __init__(self, module: nn.Module, *, classes: tuple[str, ...] | None = None, truncation: float = 0.4) -> None:
        if not 0 < truncation <= 1:
            raise ValueError(f"truncation: expected a number in (0, 1], got {truncation:g}; the paper has 0.4")
        lacking = [part for part in ("config", "embeddings", "generator") if not hasattr(module, part)]
        if lacking:
            raise ValueError(f"module: expected the BigGAN of the PyTorch port, got {type(module).__name__} without "
                             f"{', '.join(lacking)}; wrap any other generator with obverse.Adapter")  # fmt: skip
        self.module = cast(Any, copied(module, "module"))
        self.truncation, config = truncation, self.module.config
        count, side, self.noise_size = int(config.num_classes), int(config.output_dim), int(config.z_dim)
        self.count, self.classes = count, tuple(map(str, range(count))) if classes is None else tuple(classes)
        if len(self.classes) != count:
            raise ValueError(f"classes: expected {count} names, one a class of the module, got {len(self.classes)}")
        self.image_shape = (3, side, side)
        with torch.no_grad():
            embedded = self._embed(torch.zeros(1, dtype=torch.int64, device=self.device))
            self.latent_size = self.noise_size + embedded.shape[1]
            check_made(self.module.generator(self.sample(1, target=0), truncation), self.image_shape, (-1, 1))
        self._fingerprint = self.fingerprint  # nothing changes it any more

    @property
    def normal_size(self) -> int:
        """How many standard normal numbers a latent is made of, beside its class."""
        return self.noise_size

    def modules(self) -> list[nn.Module]:
        """Return the module."""
        return [self.module]

    def _from_normal(self, normal: Tensor, target: Tensor) -> Tensor:
        two = normal.new_tensor(2.0)
        share = torch.special.ndtr(normal.double())  # uniform; then the quantile of a normal cut at two deviations
        low, high = torch.special.ndtr(-two.double()), torch.special.ndtr(two.double())
        noise = self.truncation * torch.special.ndtri(low + share * (high - low))
        return torch.cat([noise.to(normal.dtype), self._embed(target).to(normal.dtype)], 1)

    def _decode(self, latent: Tensor) -> Tensor:
        made: Tensor = self.module.generator(latent, self.truncation)
        return clip((made.float() + 1) / 2)

    def _facts(self) -> list[Any]:
        return [self.truncation]

    def _embed(self, target: Tensor) -> Tensor:
        one_hot = nn.functional.one_hot(target, self.count).float()
        embedded: Tensor = self.module.embeddings(one_hot)
        return embedded


def copied(module: nn.Module, name: str) -> nn.Module:
    """Return a frozen copy.

    Raises:
        TypeError: something else than a module.
        ValueError: a module that cannot be copied.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"{name}: expected a torch.nn.Module, got {type(module).__name__}; wrap a function in one")
    try:
        twin = copy.deepcopy(module)
    except RuntimeError as error:  # spectral norm keeps the graph of its last run
        raise ValueError(f"{name}: cannot be copied ({error}); run it once under torch.no_grad() first") from error
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    return frozen(twin, device)


def check_made(made: Tensor, image_shape: tuple[int, int, int], pixels: tuple[float, float]) -> None:
    """Raise unless a generator's images have the shape and the range of pixels that were announced.

    Raises:
        TypeError: no tensor.
        ValueError: another shape or range, or pixels that are not finite.
    """
    if not isinstance(made, Tensor):
        raise TypeError(f"generator: expected a tensor of images, got {type(made).__name__}; wrap it to return one")
    if tuple(made.shape[1:]) != tuple(image_shape):
        raise ValueError(f"image_shape: expected images of shape {image_shape}, got {tuple(made.shape[1:])}; pass the shape "
                         "that the generator makes")  # fmt: skip
    if not bool(torch.isfinite(made).all()):
        raise ValueError("generator: its images hold NaN or infinity; check its weights")
    low, high = (float(value) for value in made.aminmax())
    slack = 0.01 * (pixels[1] - pixels[0])
    if low < pixels[0] - slack or high > pixels[1] + slack:
        raise ValueError(f"pixels: expected values in [{pixels[0]:g}, {pixels[1]:g}], got [{low:.4g}, {high:.4g}]; name the "
                         "range of the generator's images, e.g. (-1, 1) after a tanh")  # fmt: skip
    if pixels[0] < 0 <= low:
        warnings.warn(f"pixels: [{pixels[0]:g}, {pixels[1]:g}] was announced, and these {len(made)} images hold nothing below "
                      f"{low:.4g}; if the generator's images are in [0, 1], say pixels=(0, 1), or they are shown too "
                      "bright", stacklevel=2)  # fmt: skip


def _if_it_has(module: nn.Module, method: str) -> nn.Module | None:
    return module if hasattr(module, method) else None
