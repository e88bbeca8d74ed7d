"""Training a small classifier, for `obverse fit classifier`, the demo and the benchmarks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.augment import Augment
from obverse.data.base import Dataset, Sample
from obverse.losses import class_loss
from obverse.modules import seeded
from obverse.networks.classifiers import ARCHITECTURES
from obverse.training import Moves, Trainable

Architecture = Literal["LeNet", "ResNet", "MeanResNet"]


@dataclass(eq=False, kw_only=True)
class ClassifierTraining(Trainable):
    """A small classifier in training; `classifier()` returns the frozen result.

    Args:
        classes: names of the labels.
        image_shape: (C, H, W).
        architecture: "LeNet" for digits, "ResNet" for anything larger, "MeanResNet" where CAM is wanted.
        width: channels of its first stage; None takes the architecture's own.
        local_contrast: whether a ResNet sees local contrasts instead of grey levels (see `ResNet`).
        stride: of a ResNet's first convolution; 2 for images of 128 px.
        learning_rate: Adam's, falling along half a cosine to nothing.
        weight_decay: AdamW's.
        noise: deviation of Gaussian noise on the training images, in pixels' units; it keeps the decision from hanging on
            patterns too faint to see.
        balance: whether every batch holds every class equally often.
        augment: random geometry of the training images.
        seed: of the initial weights.

    Raises:
        ValueError: fewer than two classes, or LeNet with local contrast or a stride.
    """

    full_precision: ClassVar[bool] = True  # in bf16 that of 128 px lesions stayed at chance, and figures hang on it

    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    architecture: Architecture = "LeNet"
    width: int | None = None
    local_contrast: bool = False
    stride: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    noise: float = 0.0
    balance: bool = False
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise ValueError(f"classes: expected at least 2, got {self.classes!r}; a classifier chooses between classes")
        asked: dict[str, Any] = {"width": self.width}
        if self.architecture != "LeNet":
            asked |= {"local_contrast": self.local_contrast, "stride": self.stride}
        elif self.local_contrast or self.stride != 1:
            raise ValueError("local_contrast, stride: LeNet has neither, got "
                             f"{self.local_contrast}, {self.stride}; choose architecture ResNet or MeanResNet")  # fmt: skip
        with seeded(self.seed):
            kind = ARCHITECTURES[self.architecture]
            chosen = {name: value for name, value in asked.items() if value is not None}
            module: nn.Module = kind(self.image_shape, len(self.classes), **chosen)
        self.networks = nn.ModuleDict({"classifier": module})

    def players(self) -> dict[str, Optimizer]:
        """Return one AdamW."""
        parameters = self.networks.parameters()
        return {"classifier": AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay)}

    def rate(self, step: Step) -> float:
        """Return half a cosine from 1 to 0.01."""
        return 0.01 + 0.99 * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * step.index / step.total))))

    def groups(self, data: Dataset) -> Tensor | None:
        """Return the labels if batches are balanced.

        Raises:
            ValueError: no labels, or a class without images where batches are balanced.
        """
        labels = data.labels()
        if labels is None:
            raise ValueError(f"data: {data.name} has no labels, got only images; a classifier learns from labels")
        counts = torch.bincount(labels, minlength=len(self.classes)).tolist()
        if min(counts) == 0:
            name = self.classes[counts.index(0)]
            missing = f"data: no image of class {name!r} among {len(labels)}; check the split or the folder"
            if self.balance:
                raise ValueError(missing)
            warnings.warn(f"{missing}. It will hardly ever be decided", stacklevel=4)
        return labels if self.balance else None

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the cross entropy of one batch."""
        image = self.augment(batch.image, step.uniform(batch.image.new_empty(len(batch), 6)))
        if self.noise > 0:
            image = (image + self.noise * step.normal(image)).clamp(0, 1)
        if batch.label is None:
            raise ValueError("data: expected labels, got none; a classifier learns from labels")
        with seeded(step.seed * 1_000_003 + step.index, image.device):  # dropout
            logits = self.networks["classifier"](image)
        yield "classifier", {"cross_entropy": class_loss(logits, batch.label)}

    def validate(self, data: Dataset) -> float:
        """Return the error rate plus a tenth of the cross entropy, which decides ties; where batches are balanced, of classes.

        Their means then, one class counting as much as another: always answering the larger one is no success.
        """
        label = data.labels()
        if label is None:
            raise ValueError(f"data: {data.name} has no labels, got only images; a classifier is chosen by labels")
        logits = torch.cat([self.networks["classifier"](batch.image).float().cpu() for batch in data.batches(512, self.device)])
        score = (logits.argmax(1) != label).float() + 0.1 * F.cross_entropy(logits, label, reduction="none")
        if not self.balance:
            return float(score.mean())
        return float(torch.stack([score[label == k].mean() for k in label.unique()]).mean())

    def describe(self) -> dict[str, Any]:
        """Return architecture and settings."""
        return {
            "method": "classifier", "architecture": self.architecture, "classes": list(self.classes),
            "image_shape": list(self.image_shape), "width": self.width, "local_contrast": self.local_contrast,
            "stride": self.stride, "learning_rate": self.learning_rate, "weight_decay": self.weight_decay, "noise": self.noise,
            "balance": self.balance, "augment": vars(self.augment).copy(), "seed": self.seed,
        }  # fmt: skip

    def classifier(self) -> Classifier:
        """Return the trained network, frozen and wrapped."""
        return Classifier(self.networks["classifier"], self.classes, self.image_shape)
