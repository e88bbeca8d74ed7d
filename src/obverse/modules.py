"""Modules made from a seed, filled or read from disk, frozen, and whether the image's gradient reaches their output."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from obverse.networks.classifiers import build


def default_device() -> torch.device:
    """Return a GPU where there is one, else the CPU; of several processes that torchrun starts, each gets a GPU of its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    rank = os.environ.get("LOCAL_RANK")
    return torch.device("cuda") if rank is None else torch.device("cuda", int(rank))


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Draw on the CPU, and on `device`, what the seed says; afterwards every random state is as it was."""
    gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if gpu else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too, and leave it so
        if gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def networks_from(make: Callable[[], Mapping[str, nn.Module]], *, seed: int, device: torch.device) -> nn.ModuleDict:
    """Return what `make` builds, ready for use; the weights come from the seed, and the global random state stays."""
    with seeded(seed):
        networks = nn.ModuleDict(make())
    placed: nn.ModuleDict = networks.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return placed


def digest_of(module: nn.Module, facts: Sequence[object], more: bytes = b"") -> str:
    """Return the SHA-256 of a module's sorted weight names and bytes, of facts that JSON can hold, and of more bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    digest.update(json.dumps(facts).encode())
    digest.update(more)
    return digest.hexdigest()


def own_architecture(settings: dict[str, object], path: Path) -> nn.Module:
    """Make the empty network that a classifier folder describes.

    Raises:
        ValueError: an architecture that is not obverse's own.
    """
    architecture = settings["architecture"]
    if not isinstance(architecture, dict):
        raise ValueError(f"module: {path} holds an architecture that is not obverse's own; pass the empty network as "
                         "Classifier.load(path, module)")  # fmt: skip
    return build(architecture)


def fill(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put weights into a network.

    Raises:
        ValueError: they do not fit.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"module: the weights in {path} do not fit it: {error}") from error


def program(path: Path, trust: bool) -> nn.Module:
    """Read a TorchScript or exported program.

    Raises:
        ValueError: it is not trusted, or it is a pickle.
    """
    if not trust and path.suffix in {".pt2", ".ts"}:
        raise ValueError(f"trust: {path} is a program that can carry code; pass trust=True if you know its source")
    if path.suffix == ".pt2":
        exported: nn.Module = torch.export.load(str(path)).module()
        return exported
    try:
        if not trust:
            raise RuntimeError
        scripted: nn.Module = torch.jit.load(str(path), map_location="cpu")
        return scripted
    except RuntimeError:
        raise ValueError(
            f"classifier: {path} is refused: a pickle runs code when it is read. Convert it once where you trust it: "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), 'weights.safetensors'), then "
            "Classifier.load('weights.safetensors', module, classes=..., image_shape=...). A TorchScript program "
            "loads with trust=True"
        ) from None


def frozen(module: nn.Module, device: torch.device) -> nn.Module:
    """Put a module on a device, in evaluation mode, without gradients of its own."""
    module = module.to(device)
    with contextlib.suppress(NotImplementedError):  # the mode of an exported program is built in
        module.eval()
    for parameter in module.parameters():  # TorchScript modules have no requires_grad_ of their own
        parameter.requires_grad_(False)
    return module


def last_operation(out: Tensor) -> str:
    """Name the operation that made the values, looking through reshapes."""
    node = out.grad_fn
    reshapes = ("Squeeze", "Unsqueeze", "View", "Reshape", "UnsafeView", "Select")
    while node is not None and node.name().startswith(reshapes):
        node = node.next_functions[0][0]
    return "" if node is None else node.name()


def reached(image: Tensor, out: Tensor) -> bool:
    """Say whether the gradient of the outputs reaches the image."""
    if not out.requires_grad:
        return False
    weight = torch.linspace(1, 2, out.numel(), device=out.device).view_as(out)  # unequal: the sum of a softmax is constant
    (gradient,) = torch.autograd.grad((out.float() * weight).sum(), image, allow_unused=True)
    return gradient is not None and bool(gradient.abs().sum() > 0)
