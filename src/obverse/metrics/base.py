"""The three kinds of metric: of an image, of a set, and probes that call the explainer themselves."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Dataset, Sample
from obverse.explainer import Explainer, Precision, Target
from obverse.explanation import Explanation, NotApplicable
from obverse.generative import GenerativeModel

Better = Literal["higher", "lower", "none"]

NEEDS = {
    "counterfactual": "the method makes no counterfactual",
    "stable": "the method makes no stable image",
    "knob": "the method has no knob (Explainer.at)",
    "encoder": "the method works on no generative model with an encoder",
    "mask": "the data has no masks; pass a data set with the field `mask`",
    "twin": "the data has no twins; pass a data set with the field `twin`",
    "attributes": "the data has no attributes; pass a data set with the field `attributes`",
    "second_classifier": "pass second_classifier=, trained independently on the same classes",
    "attribute_classifier": "pass attribute_classifier=, a multi-label classifier of the attributes",
    "recogniser": "pass recogniser=, a module from images to identity vectors",
    "reference": "pass reference=, real images (the training split)",
    "validation": "pass validation=, images on which thresholds are chosen",
    "inception": "pass inception=, a safetensors file with the weights of Inception-v3 (see obverse.networks.inception)",
    "judges": "pass judges=, a folder where the networks that judge realism are kept (trained there once, minutes)",
}
"""What a metric can need, and what to say when it is not there."""
T = TypeVar("T")


def needed(thing: T | None, name: str) -> T:
    """Return what a metric needs.

    Raises:
        NotApplicable: it is not there; the message says what to pass.
    """
    if thing is None:
        raise NotApplicable(f"{name}: {NEEDS[name]}")
    return thing


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """All that `evaluate` was given, and a place for what several metrics share.

    Args:
        explainer: what is evaluated.
        data: the images it is evaluated on.
        reference: real images for set comparisons.
        validation: images on which thresholds are chosen.
        second_classifier: trained independently, with the same classes.
        attribute_classifier: of the data's attributes.
        recogniser: from images to identity vectors, (N, C, H, W) -> (N, D).
        judges: folder of the networks that judge realism.
        inception: file with the weights of Inception-v3.
        target: what every image is explained towards; None is the other class, or the runner-up.
        seed: of every random choice.
        batch_size: images at a time.
        precision: of the method's networks.
        shared: what was computed once, by name.
    """

    explainer: Explainer
    data: Dataset
    reference: Dataset | None = None
    validation: Dataset | None = None
    second_classifier: Classifier | None = None
    attribute_classifier: Classifier | None = None
    recogniser: torch.nn.Module | None = None
    judges: Path | None = None
    inception: Path | None = None
    target: Target = None
    seed: int = 0
    batch_size: int = 256
    precision: Precision = "float32"
    shared: dict[str, Any] = field(default_factory=dict)

    @property
    def classifier(self) -> Classifier:
        """The classifier under explanation."""
        return self.explainer.classifier

    @property
    def encoder(self) -> GenerativeModel | None:
        """The generative model that the explainer works on, if that encodes images."""
        names = [field.name for field in dataclasses.fields(self.explainer) if field.init and not field.kw_only]
        parts = (getattr(self.explainer, name) for name in names)
        return next((part for part in parts if isinstance(part, GenerativeModel) and part.has_encoder), None)

    def missing(self, needs: frozenset[str], explanation: Explanation | None = None) -> str:
        """Return why a metric with these needs cannot run ("name: what to do"), or "" if it can."""
        for need in sorted(needs):
            if need in ("counterfactual", "stable"):
                present = explanation is None or getattr(explanation, need) is not None
            elif need == "knob":
                present = self.explainer.has_knob
            elif need == "encoder":
                present = self.encoder is not None
            elif need in ("mask", "twin", "attributes"):
                present = need in self.data.fields
            else:
                present = getattr(self, need) is not None
            if not present:
                return f"{need}: {NEEDS[need]}"
        return ""

    def masked_validation(self, most: int) -> Iterator[tuple[Explanation, Sample]]:
        """Yield explanations of those of the first `most` validation images with a non-empty mask that are asked.

        Raises:
            NotApplicable: the validation set has no such image.
        """
        found, asked = 0, False
        if self.validation is not None and "mask" in self.validation.fields:
            for sample in self.validation.batches(self.batch_size, self.classifier.device):
                rows = (needed(sample.mask, "mask") > 0).flatten(1).any(1).nonzero().flatten()[: most - found]
                if len(rows):
                    sample = sample.select(rows)
                    found += len(rows)
                    answer = self.explainer.explain(sample.image, self.target_name, seed=self.seed)
                    kept = answer.asked.nonzero().flatten()
                    if len(kept):
                        asked = True
                        yield answer.select(kept), sample.select(kept)
                if found >= most:
                    break
        if not asked:
            raise NotApplicable("validation: has no image with a non-empty mask that is asked; pass a validation set with masks, "
                                "from which the threshold is chosen")  # fmt: skip

    @property
    def target_name(self) -> int | str | None:
        """The target, where it is the same for all images; None otherwise."""
        return self.target if isinstance(self.target, (int, str)) else None


class Metric(ABC):
    """One figure of merit; subclasses are final frozen dataclasses.

    Attributes:
        name: its key in METRICS.
        title: its name in tables.
        question: what is asked of an explanation, under which it is listed.
        better: whether a higher or a lower value is better; "none" where neither is.
        unit: of the value; "" for a pure number.
        range: the lowest and highest possible value.
        formula: the definition, in symbols and words.
        source: the paper with its equation or table.
        needs: keys of NEEDS.
        about: what it tells, and what it cannot tell.
        per_direction: whether it is also given for each pair source -> target.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    better: ClassVar[Better]
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]]
    formula: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    about: ClassVar[str]
    per_direction: ClassVar[bool] = True

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return what `evaluate` runs by default: the metric, or one of it for each map it is taken on."""
        return (cls(),)

    @property
    def label(self) -> str:
        """The name in tables; tells instances of one class apart."""
        return self.title

    @property
    def required(self) -> frozenset[str]:
        """The keys of NEEDS that this instance asks for."""
        return self.needs

    def prepare(self, context: Context) -> Self:
        """Return the metric with what it learns from the other arguments of `evaluate`, e.g. a threshold.

        Raises:
            NotApplicable: what it needs is not there; the message says what to pass.
        """
        return self

    def note(self) -> str:
        """Say what a reader of the table must know of this run, e.g. the threshold chosen."""
        return ""


class ImageMetric(Metric):
    """A figure for every image.

    Attributes:
        share: whether every figure is 0 or 1.
    """

    share: ClassVar[bool] = False

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return (N,) bool, the rows that have a figure."""
        return torch.ones(len(explanation), dtype=torch.bool, device=explanation.image.device)

    @abstractmethod
    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) figures, finite; `sample` has the same rows as `explanation`."""

    def curve(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor | None:
        """Return (N, P), the curve whose summary the figure is, on equal steps from 0 to 1; or None."""
        return None


class SetMetric(Metric):
    """A figure for a set of images, from features of each.

    Attributes:
        resamples: for its bootstrap interval; 0 for none.
    """

    resamples: ClassVar[int] = 100

    @property
    def features_of(self) -> str:
        """Names what `features` returns; metrics with the same name share it."""
        return self.name

    @abstractmethod
    def features(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N, D) features, D at most 2048."""

    def kept(self, features: Tensor) -> Tensor:
        """Return (N,) bool, the answers that the figure is about."""
        return torch.ones(len(features), dtype=torch.bool)

    @abstractmethod
    def compute(self, features: Tensor, source: Tensor, target: Tensor) -> float:
        """Return the figure of (N, D) features of answers from (N,) `source` to (N,) `target`.

        Raises:
            NotApplicable: these answers have no figure, e.g. too few; the message says why.
        """

    def resampled(self, features: Tensor, source: Tensor, target: Tensor) -> Self:
        """Return the metric that computes the same figure of draws from these answers: what was left out of it stays out."""
        return self

    def beside(self, features: Tensor, source: Tensor, target: Tensor) -> Mapping[str, float]:
        """Return figures that the value has to be read against, by name, e.g. its floor."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a probe measured.

    Args:
        label: the row's name.
        value: the figure.
        n: how many measurements it summarises.
        low, high: its interval, where there is one.
        unit: of the value.
        note: what a reader must know.
    """

    label: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    unit: str = ""
    better: Better = "none"
    note: str = ""


class Probe(Metric):
    """A measurement that calls the explainer itself."""

    per_direction: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, explainer: Explainer, data: Dataset, classifier: Classifier) -> tuple[Measured, ...]:
        """Return what was measured, one entry a row of the table."""

    def curves(self) -> Mapping[str, tuple[list[float], list[float]]]:
        """Return curves for the report, by name: (x, y)."""
        return {}
