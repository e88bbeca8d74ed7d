"""Foreign generators behind the interface of `GenerativeModel`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn

from obverse.generative import GenerativeModel
from obverse.modules import frozen, last_operation
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
        critic: images, with those pixels, to (N,), (N, 1) or (N, 1, 1, 1) opinions, larger for more real.
        critic_outputs: "logits", or "probabilities" where the critic ends in a sigmoid.
        prior: standard normal noise (N, latent_size) to latents, a module (copied too) or a function; None takes the noise
            itself.
        name: for messages and the fingerprint.

    Raises:
        TypeError: no module, or one that returns no tensor.
        ValueError: weights that are not float32, images of another shape or outside `pixels`, latents of another size, an
            encoder or critic that fails on the generator's images, opinions that are not what `critic_outputs` says, or an
            encoder that does not belong to this generator: it finds its images no better than by chance.
    """

    name = "adapter"

    def __init__(
        self, generator: nn.Module, *, image_shape: tuple[int, int, int], latent_size: int,
        pixels: tuple[float, float], encoder: nn.Module | None = None, critic: nn.Module | None = None,
        critic_outputs: Outputs = "logits", prior: Callable[[Tensor], Tensor] | None = None, name: str = "adapter",
    ) -> None:  # fmt: skip
        self.name = name  # type: ignore[misc]
        self.image_shape, self.latent_size = cast("tuple[int, int, int]", tuple(image_shape)), latent_size
        self.low, self.high = pixels
        if self.high <= self.low:
            raise ValueError(f"pixels: expected the least and the greatest value, got {pixels}; pass e.g. (-1, 1)")
        if critic_outputs not in get_args(Outputs):
            raise ValueError(f"critic_outputs: expected 'logits' or 'probabilities', got {critic_outputs!r}; pass one of these")
        generator = copied(generator, "generator")
        self._generator, device = generator, device_of(generator)
        self._encoder = copied(encoder, "encoder", device) if encoder is not None else _if_it_has(generator, "encode")
        self._critic = copied(critic, "critic", device) if critic is not None else _if_it_has(generator, "criticise")
        self.has_encoder, self.has_critic = self._encoder is not None, self._critic is not None
        self.critic_outputs = critic_outputs
        self.prior = copied(prior, "prior", device) if isinstance(prior, nn.Module) else prior
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
        opinion = opinion.flatten(1).squeeze(1) if opinion.ndim > 1 else opinion
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
            made = tried("generator", lambda: getattr(self._generator, "decode", self._generator)(latent),
                         f"latents of size {self.latent_size}",
                         "pass the latent_size it was trained with, and a module that takes (N, latent_size)")  # fmt: skip
            check_made(made, self.image_shape, (self.low, self.high))
            image = self._decode(latent)
            if self.has_encoder:
                self._check_encoder(image)
            if self.has_critic:
                self._check_critic(image)

    def _check_critic(self, image: Tensor) -> None:
        judge = getattr(self._critic, "criticise", cast(nn.Module, self._critic))
        with torch.enable_grad():
            seen = self._as_theirs(image).requires_grad_(True)
            opinion = tried("critic", lambda: judge(seen),
                            f"images of {self.image_shape}", "pass the critic that was trained beside it")  # fmt: skip
        if opinion.ndim == 0 or len(opinion) != PROBES or opinion.numel() != PROBES:
            raise ValueError(f"critic: expected one number an image, got {tuple(opinion.shape)} for {PROBES} images; wrap it to "
                             "return (N,) opinions")  # fmt: skip
        if self.critic_outputs == "logits" and last_operation(opinion).startswith("Sigmoid"):
            raise ValueError("critic_outputs: 'logits' was announced, and the critic ends in a sigmoid; pass "
                             "critic_outputs='probabilities'")  # fmt: skip
        low, high = (float(value) for value in opinion.detach().aminmax())
        if self.critic_outputs == "probabilities" and (low < 0 or high > 1):
            raise ValueError(f"critic_outputs: 'probabilities' was announced, and opinions are in [{low:.4g}, {high:.4g}]; leave "
                             "it out for logits")  # fmt: skip

    def _check_encoder(self, image: Tensor) -> None:
        encode, theirs = getattr(self._encoder, "encode", cast(nn.Module, self._encoder)), self._as_theirs(image)
        code = tried("encoder", lambda: encode(theirs), f"images of {self.image_shape}",
                     "pass the encoder that was trained for this generator")  # fmt: skip
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
            made = tried("module", lambda: self.module.generator(self.sample(1, target=0), truncation),
                         f"latents of size {self.latent_size}", "pass the port's BigGAN as it is, once it is loaded")  # fmt: skip
            check_made(made, self.image_shape, (-1, 1))
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


def copied(module: nn.Module, name: str, device: torch.device | None = None) -> nn.Module:
    """Return a frozen copy, on a device or where the module is.

    Raises:
        TypeError: something else than a module.
        ValueError: a module that cannot be copied, or whose weights are not float32.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"{name}: expected a torch.nn.Module, got {type(module).__name__}; wrap a function in one")
    try:
        twin = copy.deepcopy(module)
    except RuntimeError as error:  # spectral norm keeps the graph of its last run
        raise ValueError(f"{name}: cannot be copied ({error}); run it once under torch.no_grad() first") from error
    other = [p.dtype for p in module.parameters() if p.is_floating_point() and p.dtype != torch.float32]
    if other:
        raise ValueError(f"{name}: expected weights in float32, got {other[0]}; call .float() on it first")
    return frozen(twin, device_of(module) if device is None else device)


def device_of(module: nn.Module) -> torch.device:
    """Return where a module's weights are."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def tried(part: str, run: Callable[[], Any], on: str, remedy: str) -> Tensor:
    """Return what a part of the user's makes, or say in words that it fails.

    Raises:
        TypeError: no tensor.
        ValueError: it raised.
    """
    try:
        made = run()
    except Exception as error:  # whatever the user's code raises
        raise ValueError(f"{part}: it failed on {on}: {str(error) or type(error).__name__}; {remedy}") from error
    if not isinstance(made, Tensor):
        raise TypeError(f"{part}: expected it to return a tensor, got {type(made).__name__}; wrap it to return one")
    return made


def check_made(made: Tensor, image_shape: tuple[int, int, int], pixels: tuple[float, float]) -> None:
    """Raise unless a generator's images have the shape and the range of pixels that were announced.

    Raises:
        ValueError: another shape or range, or pixels that are not finite.
    """
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
