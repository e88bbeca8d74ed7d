"""Inception-v3 (Szegedy et al. 2016) as the Frechet distance of generated images uses it: 2048 numbers an image.

Weights are read from a file that the user names and are never downloaded. Any state of 94 convolutions with the usual
names fits, e.g. `Mixed_5b.branch1x1.conv.weight`: those ported from the network that published FIDs used (2015), or
ImageNet weights of torchvision. Write a pickled state as safetensors once, where it is trusted:
`safetensors.torch.save_file(torch.load("inception.pth", weights_only=True), "inception.safetensors")`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.checkpoint import load_tensors

Layer = tuple[str, int, tuple[int, int], int]
"""Name, channels, kernel, stride; where the stride is 1 the layer pads to keep the size."""
Branch = list[Layer | list[Layer]]
"""Layers in a row; layers in a list stand side by side, at the end."""
SIDE = 299


def _layer(name: str, channels: int, height: int = 1, width: int = 0, stride: int = 1) -> Layer:
    return name, channels, (height, width or height), stride


def _a(pooled: int) -> list[Branch]:
    return [
        [_layer("branch1x1", 64)],
        [_layer("branch5x5_1", 48), _layer("branch5x5_2", 64, 5)],
        [_layer("branch3x3dbl_1", 64), _layer("branch3x3dbl_2", 96, 3), _layer("branch3x3dbl_3", 96, 3)],
        [_layer("branch_pool", pooled)],
    ]


def _b() -> list[Branch]:
    last = _layer("branch3x3dbl_3", 96, 3, stride=2)
    return [
        [_layer("branch3x3", 384, 3, stride=2)],
        [_layer("branch3x3dbl_1", 64), _layer("branch3x3dbl_2", 96, 3), last],
    ]


def _c(inner: int) -> list[Branch]:
    double: Branch = [_layer("branch7x7dbl_1", inner)]
    for index, (height, width) in enumerate([(7, 1), (1, 7), (7, 1), (1, 7)]):
        double.append(_layer(f"branch7x7dbl_{index + 2}", 192 if index == 3 else inner, height, width))
    return [
        [_layer("branch1x1", 192)],
        [_layer("branch7x7_1", inner), _layer("branch7x7_2", inner, 1, 7), _layer("branch7x7_3", 192, 7, 1)],
        double,
        [_layer("branch_pool", 192)],
    ]


def _d() -> list[Branch]:
    seven = [_layer("branch7x7x3_1", 192), _layer("branch7x7x3_2", 192, 1, 7), _layer("branch7x7x3_3", 192, 7, 1)]
    return [
        [_layer("branch3x3_1", 192), _layer("branch3x3_2", 320, 3, stride=2)],
        [*seven, _layer("branch7x7x3_4", 192, 3, stride=2)],
    ]


def _e() -> list[Branch]:
    def sides(name: str) -> list[Layer]:
        return [_layer(f"{name}a", 384, 1, 3), _layer(f"{name}b", 384, 3, 1)]

    return [
        [_layer("branch1x1", 320)],
        [_layer("branch3x3_1", 384), sides("branch3x3_2")],
        [_layer("branch3x3dbl_1", 448), _layer("branch3x3dbl_2", 384, 3), sides("branch3x3dbl_3")],
        [_layer("branch_pool", 192)],
    ]


class _Convolution(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, layer: Layer, *, pad: bool = True) -> None:
        super().__init__()
        _, channels, kernel, stride = layer
        padding = (kernel[0] // 2, kernel[1] // 2) if pad and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(inputs, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class _Block(nn.Module):
    """Branches side by side, their channels joined.

    Args:
        inputs: channels.
        branches: of layers; the last one of a block that keeps the size follows a pooling.
        pool: "mean" or "max" before the last branch; "shrink" joins the pooled input itself, at half the size.
    """

    def __init__(self, inputs: int, branches: list[Branch], pool: str) -> None:
        super().__init__()
        self.branches, self.pool = branches, pool
        self.outputs = inputs if pool == "shrink" else 0
        for branch in branches:
            now = inputs
            for step in branch:
                layers = step if isinstance(step, list) else [step]
                for layer in layers:
                    self.add_module(layer[0], _Convolution(now, layer))
                now = sum(layer[1] for layer in layers)
            self.outputs += now

    def forward(self, x: Tensor) -> Tensor:
        """Return the joined branches."""
        found = []
        for index, branch in enumerate(self.branches):
            now = self._pooled(x) if index == len(self.branches) - 1 and self.pool != "shrink" else x
            for step in branch:
                layers = step if isinstance(step, list) else [step]
                now = torch.cat([self.get_submodule(layer[0])(now) for layer in layers], 1)
            found.append(now)
        return torch.cat([*found, F.max_pool2d(x, 3, 2)] if self.pool == "shrink" else found, 1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == "max":
            return F.max_pool2d(x, 3, 1, 1)
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)  # as the 2015 network has it


class Inception(nn.Module):
    """Inception-v3 without its classifier: images in [0, 1] to 2048 numbers.

    Images are resized to 299 x 299 (bilinear, pixel centres aligned) and scaled as (255 x - 128) / 128; one channel is
    repeated three times. Mean pooling leaves borders out, and the last block pools by the maximum, as in the network of
    published FIDs, whose resizing differs from paper to paper.
    """

    def __init__(self) -> None:
        super().__init__()
        stem = [("Conv2d_1a_3x3", 32, 3, 2), ("Conv2d_2a_3x3", 32, 3, 1), ("Conv2d_2b_3x3", 64, 3, 1),
                ("Conv2d_3b_1x1", 80, 1, 1), ("Conv2d_4a_3x3", 192, 3, 1)]  # fmt: skip
        now, self.order = 3, []
        for name, channels, kernel, stride in stem:
            layer = _layer(name, channels, kernel, stride=stride)
            self.add_module(name, _Convolution(now, layer, pad=name.endswith("2b_3x3")))
            self.order.append(name)
            now = channels
        blocks: list[tuple[str, list[Branch], str]] = [
            ("Mixed_5b", _a(32), "mean"), ("Mixed_5c", _a(64), "mean"), ("Mixed_5d", _a(64), "mean"),
            ("Mixed_6a", _b(), "shrink"), ("Mixed_6b", _c(128), "mean"), ("Mixed_6c", _c(160), "mean"),
            ("Mixed_6d", _c(160), "mean"), ("Mixed_6e", _c(192), "mean"), ("Mixed_7a", _d(), "shrink"),
            ("Mixed_7b", _e(), "mean"), ("Mixed_7c", _e(), "max"),
        ]  # fmt: skip
        for name, branches, pool in blocks:
            block = _Block(now, branches, pool)
            self.add_module(name, block)
            self.order.append(name)
            now = block.outputs

    def forward(self, image: Tensor) -> Tensor:
        """Return (N, 2048); 16 images at a time."""
        return torch.cat([self._part(part) for part in image.split(16)])

    def _part(self, image: Tensor) -> Tensor:
        x = F.interpolate(image.expand(-1, 3, -1, -1), (SIDE, SIDE), mode="bilinear", align_corners=False)
        x = (255 * x - 128) / 128
        for name in self.order:
            x = self.get_submodule(name)(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = F.max_pool2d(x, 3, 2)
        return x.mean((2, 3))


def load_inception(path: str | Path) -> tuple[Inception, str]:
    """Return the network with the weights of a safetensors file, and the file's SHA-256.

    Weights of its classifier and of the auxiliary one are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not safetensors, or of another network.
    """
    path = Path(path)
    found = {key: value for key, value in load_tensors(path).items() if not key.startswith(("fc.", "AuxLogits."))}
    with torch.random.fork_rng(devices=[]):
        network = Inception()
    try:
        network.load_state_dict({**{k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")},
                                 **found})  # fmt: skip
    except RuntimeError as error:
        raise ValueError(f"{path}: expected the weights of Inception-v3, got others ({str(error).splitlines()[1].strip()}); "
                         "see obverse.networks.inception for how to write them") from error  # fmt: skip
    return network.eval().requires_grad_(False), hashlib.sha256(path.read_bytes()).hexdigest()
