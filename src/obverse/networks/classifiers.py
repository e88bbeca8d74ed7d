"""Small classifiers, for `obverse fit classifier`, the demo and the benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from obverse.networks.blocks import group_norm


class LeNet(nn.Module):
    """The digits classifier of SyCE (supplement D.1 as released): two convolutions, one pooling, two dense layers.

    Deviations: one logit a class instead of one sigmoid; any image size, pooled to at most 12 x 12 before the dense layer.

    Args:
        image_shape: (C, H, W).
        classes: K.
        width: channels of both convolutions.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, width: int = 64) -> None:
        super().__init__()
        self.image_shape, self.classes, self.width = tuple(image_shape), classes, width
        self.conv1 = nn.Conv2d(image_shape[0], width, 3)
        self.conv2 = nn.Conv2d(width, width, 3)
        self.pooled = [min(12, (side - 4) // 2) for side in image_shape[1:]]
        self.hidden = nn.Linear(width * self.pooled[0] * self.pooled[1], 128)
        self.out = nn.Linear(128, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return (N, K) logits."""
        x = F.relu(F.max_pool2d(self.conv2(F.relu(self.conv1(image))), 2))  # pooled first: the same, of a quarter of the pixels
        x = x if list(x.shape[-2:]) == self.pooled else F.adaptive_avg_pool2d(x, (self.pooled[0], self.pooled[1]))
        x = F.dropout(x, 0.25, self.training)
        # the dense layer as a convolution: flattening copies out of channels_last, which took as long as the layer
        kernel = self.hidden.weight.view(-1, self.width, *self.pooled)
        x = F.dropout(F.relu(F.conv2d(x, kernel, self.hidden.bias)).flatten(1), 0.5, self.training)
        logits: Tensor = self.out(x)
        return logits

    def config(self) -> dict[str, Any]:
        """Return what `build` needs to make it again."""
        return {"image_shape": list(self.image_shape), "classes": self.classes, "width": self.width}


class ResNet(nn.Module):
    """A small residual classifier with group norm, for images of 28 px and more.

    Args:
        image_shape: (C, H, W).
        classes: K.
        width: channels of the first stage; each of the `stages` doubles them and halves the sides.
        stages: how many, two blocks each.
        local_contrast: whether it sees the image minus its local mean, divided by the deviation of that over the image;
            for small findings under uneven light.
        stride: of the first convolution, whose side is twice that and 1: 2 for images of 128 px is as 64 px without.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, width: int = 16, stages: int = 3,
        local_contrast: bool = False, stride: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.image_shape, self.classes, self.width, self.stages = tuple(image_shape), classes, width, stages
        self.local_contrast, self.stride = local_contrast, stride
        self.stem = nn.Conv2d(image_shape[0], width, 2 * stride + 1, stride=stride, padding=stride)
        blocks: list[nn.Module] = []
        for stage in range(stages):
            blocks += [_Residual(width * 2 ** max(stage - 1, 0), width * 2**stage, 1 if stage == 0 else 2)]
            blocks += [_Residual(width * 2**stage, width * 2**stage, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.out = nn.Linear(width * 2 ** (stages - 1), classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return (N, K) logits."""
        image = contrast(image) if self.local_contrast else image
        logits: Tensor = self.out(self.pooled(self.blocks(self.stem(image))))
        return logits

    def pooled(self, x: Tensor) -> Tensor:
        """Return (N, D) of the last feature maps."""
        # both: the average loses a small finding in a large image, the maximum alone trains badly
        return F.relu(0.5 * (x.mean((2, 3)) + x.amax((2, 3))))

    def config(self) -> dict[str, Any]:
        """Return what `build` needs to make it again."""
        return {
            "image_shape": list(self.image_shape), "classes": self.classes, "width": self.width, "stages": self.stages,
            "local_contrast": self.local_contrast, "stride": self.stride,
        }  # fmt: skip


def contrast(image: Tensor, window: int = 17) -> Tensor:
    """Return (N, C, H, W) less the mean of the window around each pixel, each channel then of mean 0 and deviation 1."""
    side = min(window, 2 * ((min(image.shape[-2:]) - 1) // 2) + 1)
    mean = F.avg_pool2d(image, side, stride=1, padding=side // 2, count_include_pad=False)
    return F.instance_norm(image - mean)


class MeanResNet(ResNet):
    """The same with a global average before the linear layer, which CAM needs."""

    def __init__(
        self, image_shape: tuple[int, int, int], classes: int, width: int = 16, stages: int = 3,
        local_contrast: bool = False, stride: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(image_shape, classes, width, stages, local_contrast, stride)
        self.blocks.append(nn.ReLU())  # before the average: its output is the maps that CAM weighs

    def pooled(self, x: Tensor) -> Tensor:
        """Return (N, D), the means."""
        return x.mean((2, 3))


class _Residual(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(inner), group_norm(outer)
        self.conv1 = nn.Conv2d(inner, outer, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        # pooled, not strided: no pixel is dropped, and no 1x1 convolution of stride 2 (see blocks.memory_format)
        pool: list[nn.Module] = [nn.AvgPool2d(2, ceil_mode=True)] if stride == 2 else []
        widen: list[nn.Module] = [nn.Conv2d(inner, outer, 1)] if inner != outer else []
        self.skip = nn.Sequential(*pool, *widen)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norm1(x))
        y = self.conv2(F.relu(self.norm2(self.conv1(inner))))
        result: Tensor = y + self.skip(x)
        return result


ARCHITECTURES: dict[str, type[LeNet] | type[ResNet]] = {"LeNet": LeNet, "ResNet": ResNet, "MeanResNet": MeanResNet}


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """Make the network that `config` described.

    Raises:
        ValueError: an architecture that is not obverse's own.
    """
    name = architecture["name"]
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture: expected one of {', '.join(ARCHITECTURES)}, got {name!r}; pass the empty network "
                         "as Classifier.load(path, module)")  # fmt: skip
    settings = {key: value for key, value in architecture.items() if key != "name"}
    settings["image_shape"] = tuple(settings["image_shape"])
    return ARCHITECTURES[name](**settings)
