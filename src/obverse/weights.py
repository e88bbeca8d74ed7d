"""Classifier weights and programs from disk: what is filled, what is refused."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from obverse.networks.classifiers import build


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
