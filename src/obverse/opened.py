"""A finished run opened again, with its images: what the commands and the app judge and compare."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from obverse import data as sets
from obverse.baselines import BASELINES, baseline
from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.explainer import Explainer, LearnedExplainer
from obverse.generative import GenerativeModel
from obverse.methods import LEARNED, METHODS, method
from obverse.metrics.base import Context
from obverse.metrics.judges import Autoencoders, JudgeSettings, judge
from obverse.settings import check_type, restore


@dataclass(kw_only=True)
class DataOptions:
    """Which images.

    Args:
        data: lesions, mnist:3,8, fashion-mnist:0,2, brain-mri:tumour, magnetic-tile:defect or folder:PATH.
        data_dir: where the files of a named set are; default $OBVERSE_DATA, then a cache; digits and clothes are
            downloaded.
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

    def of_others(self, data: str | None, classifier: Classifier) -> DataOptions:
        """Return the options of images that are not the run's, of the classifier's size where that is a square; or these."""
        if data in (None, self.data):
            return self
        _, height, width = classifier.image_shape
        return DataOptions(data=data or self.data, data_dir=self.data_dir, size=height if height == width else None,
                           skip_corrupt=self.skip_corrupt)  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """Return the options as JSON can hold them."""
        return {**dataclasses.asdict(self), "data_dir": None if self.data_dir is None else str(self.data_dir)}

    def words(self) -> str:
        """Return what was given as the words of a command."""
        words: list[str] = []
        for name, value in self.plain().items():
            if value is not None and value is not False:
                words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return shlex.join(words)


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


def make_baseline(asked: str, opened: Opened, judges: Path | None = None) -> Explainer:
    """Return a baseline for the classifier of a run; images it needs come from the training split.

    Args:
        asked: its name, alone or with settings: "pgd", "pgd:published", "pgd:epsilon=0.28,steps=100". Integrated gradients
            with baseline=counterfactual start from the run's.
        opened: the run.
        judges: folder of the networks that judge realism, for a baseline that takes an autoencoder.

    Raises:
        ValueError: an unknown name, preset or setting, a baseline that is trained first, or a part that is not there.
    """
    name, _, rest = asked.partition(":")
    searches = name in METHODS and not issubclass(method(name), LearnedExplainer)
    kind = method(name) if searches else baseline(name)
    if name in LEARNED:
        raise ValueError(f"baseline: expected one of {', '.join(_able(opened, judges))}, got {name!r}, which is trained "
                         f"first; train it with `obverse fit {name}` and name its run folder")  # fmt: skip
    parts = _parts(opened)
    required, optional = _needs(kind)
    if "autoencoder" in required | optional and judges is not None:
        parts["autoencoder"], required = autoencoder(opened, judges), required | {"autoencoder"}
    if "model" in required - set(parts):
        raise ValueError(f"baseline: {name} searches in a generative model, got none; train one with `obverse fit vae` and "
                         "pass its run folder as --model")  # fmt: skip
    if "autoencoder" in required - set(parts):
        raise ValueError(f"baseline: expected one of {', '.join(_able(opened, judges))}, got {name!r}, which needs an "
                         "autoencoder; pass the folder of the networks that judge realism as --judges")  # fmt: skip
    published, settings = _settings(kind, rest)
    if settings.get("baseline") == "counterfactual":
        required = required | {"explainer"}
    taken = {key: parts[key] for key in required}
    if published:
        made: Explainer = kind.published(opened.explainer.classifier, **taken)  # type: ignore[attr-defined]
        return dataclasses.replace(made, **settings)
    return kind(opened.explainer.classifier, **taken, **settings)


def _settings(kind: type[Explainer], text: str) -> tuple[bool, dict[str, Any]]:
    """Return whether the published preset is asked for after a baseline's name, and the settings that are."""
    words = [word for word in text.split(",") if word]
    pairs = dict(word.split("=", 1) for word in words if "=" in word)
    presets = [word for word in words if "=" not in word]
    known = {f.name for f in dataclasses.fields(kind) if f.init and f.kw_only}
    if presets not in ([], ["published"]) or (presets and not hasattr(kind, "published")):
        has = "published" if hasattr(kind, "published") else "none"
        raise ValueError(f"baseline: {kind.name} has these presets: {has}, got {', '.join(presets)}; write settings as "
                         f"{kind.name}:NAME=VALUE")  # fmt: skip
    if unknown := sorted(set(pairs) - known):
        raise ValueError(f"baseline: {kind.name} has the settings {', '.join(sorted(known)) or 'none'}, got "
                         f"{', '.join(unknown)}; pass one of them")  # fmt: skip
    given = {key: _value(value) for key, value in pairs.items()}
    for field in dataclasses.fields(kind):
        if field.name in given and field.default is not dataclasses.MISSING:
            check_type(kind, field.name, given[field.name], field.default)
    return bool(presets), restore(kind, given)


def _value(text: str) -> Any:
    """Return a number, a truth value or a list as JSON has it, anything else as the word that it is."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def autoencoder(opened: Opened, judges: Path) -> nn.Module:
    """Return the autoencoder of all classes that judges realism, from the folder or trained and kept there."""
    context = Context(explainer=opened.explainer, data=opened.data, reference=opened.train, judges=judges)
    return judge(Autoencoders, context, JudgeSettings()).networks["all"]


def _parts(opened: Opened) -> dict[str, Any]:
    """Return what a run has for the parts of baselines, by their names."""
    parts: dict[str, Any] = {"reference": opened.train, "explainer": opened.explainer}
    return parts if opened.model is None else parts | {"model": opened.model}


def _needs(kind: type[Explainer]) -> tuple[set[str], set[str]]:
    """Return the names of the parts, beside the classifier, that an explainer needs and of those that it can do without."""
    parts = [f for f in dataclasses.fields(kind) if f.init and not f.kw_only and f.name != "classifier"]
    required = {f.name for f in parts if f.default is dataclasses.MISSING}
    return required, {f.name for f in parts} - required


def _able(opened: Opened, judges: Path | None) -> list[str]:
    """Return the names of the baselines that can be made for a run."""
    found, parts = [], _parts(opened) | ({} if judges is None else {"autoencoder": nn.Identity()})
    for name in BASELINES:
        required, _ = _needs(baseline(name))
        if name in LEARNED or not required <= set(parts):
            continue
        if "reference" not in required:  # which any classifier allows, and which costs a pass over the images
            try:
                baseline(name)(opened.explainer.classifier, **{key: parts[key] for key in required})
            except (TypeError, ValueError):  # e.g. a map of a layer that the network does not have
                continue
        found.append(name)
    return found
