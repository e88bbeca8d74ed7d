"""A finished run opened again, with its images: what the commands and the app judge and compare."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obverse import data as sets
from obverse.baselines import BASELINES, baseline
from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.explainer import Explainer, LearnedExplainer
from obverse.generative import GenerativeModel
from obverse.methods import METHODS, method


@dataclass(kw_only=True)
class DataOptions:
    """Which images.

    Args:
        data: lesions, mnist:3,8, fashion-mnist:0,2, brain-mri:tumour, magnetic-tile:defect or folder:PATH.
        data_dir: where the files of a named set are; default $OBVERSE_DATA, then a cache, then a download.
        size: side of the images in pixels; default the set's own.
        count: images a split, for generated sets.
        skip_corrupt: leave out unreadable files and count them, instead of stopping at the first.
    """

    data: str
    data_dir: Path | None = None
    size: int | None = None
    count: int | None = None
    skip_corrupt: bool = False

    def open(self, split: str) -> Dataset:
        """Return one split."""
        return sets.open(
            self.data, split=split, data_dir=self.data_dir, size=self.size, count=self.count,
            skip_corrupt=self.skip_corrupt,
        )  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """Return the options as JSON can hold them."""
        return {**dataclasses.asdict(self), "data_dir": None if self.data_dir is None else str(self.data_dir)}


@dataclass(frozen=True)
class Opened:
    """A run's explainer, the images to judge it on, its training and validation images, and what baselines may need."""

    explainer: LearnedExplainer
    data: Dataset
    train: Dataset
    validation: Dataset
    second: Classifier | None
    model: GenerativeModel | None = None
    attributes: Classifier | None = None


def make_baseline(name: str, opened: Opened) -> Explainer:
    """Return a baseline for the classifier of a run; images it needs come from the training split.

    Raises:
        ValueError: an unknown name, or a baseline that needs a network of its own.
    """
    searches = name in METHODS and not issubclass(method(name), LearnedExplainer)
    kind = method(name) if searches else baseline(name)
    parts: dict[str, Any] = {"reference": opened.train, "explainer": opened.explainer}
    parts |= {} if opened.model is None else {"model": opened.model}
    needed = [f for f in dataclasses.fields(kind) if f.init and not f.kw_only and f.name != "classifier"]
    required = {f.name for f in needed if f.default is dataclasses.MISSING}
    if required - set(parts) == {"model"}:
        raise ValueError(f"baseline: {name} searches in a generative model, got none; train one with `obverse fit vae` and "
                         "pass its run folder as --model")  # fmt: skip
    if issubclass(kind, LearnedExplainer) or not required <= set(parts):
        able = ", ".join(key for key in BASELINES if key not in (name, "cxplain", "reconstruction"))
        raise ValueError(f"baseline: {name} needs a network that is trained first, use it from Python; got {name!r}, "
                         f"expected one of {able}")  # fmt: skip
    return kind(opened.explainer.classifier, **{key: parts[key] for key in required})
