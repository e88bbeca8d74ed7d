"""Is it valid, by degrees? Requested against obtained posteriors, and the classifier on generated images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Dataset, Sample
from obverse.explainer import Explainer
from obverse.explanation import Explanation, NotApplicable
from obverse.metrics.base import Better, Context, Measured, Probe, SetMetric
from obverse.metrics.cost import affordable
from obverse.metrics.statistics import interval, interval_of
from obverse.metrics.validity import QUESTION, made

FALL = 0.01
"""How far a posterior may fall in a series that rises."""


@dataclass(frozen=True)
class KnobCalibration(Probe):
    """Whether the posterior that is asked for is the one that is obtained.

    Args:
        bins: how many posteriors are asked for, at the centres of equal bins of [0, 1].
        images: how many images are asked, the first ones of a seeded order.
        budget: seconds it may take; slow methods are asked for fewer images.
        seed: of that order.
        kept: what was measured, for the curve.
    """

    bins: int = 10
    images: int = 200
    budget: float = 120.0
    seed: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    name: ClassVar[str] = "knob_calibration"
    title: ClassVar[str] = "knob calibration"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "none"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    formula: ClassVar[str] = (
        "Spearman's correlation, and mean absolute difference, of requested and obtained posterior; share of series that "
        "never fall; share whose two ends are decided as asked"
    )
    source: ClassVar[str] = "EPE fig. 3"
    needs: ClassVar[frozenset[str]] = frozenset({"knob"})
    about: ClassVar[str] = (
        "Tells whether the knob does what its scale says. Asked at the centres of ten bins of the posterior of the "
        "target (with two classes, the second one); the released code trains on the bins' lower edges and plots their "
        "centres. Correlation 0 where the obtained posterior never changes. Posteriors that hardly any training image has "
        "are called thin: their error has a row, and a curve, of its own, and the other figures count them in. A series "
        "may fall by 0.01 from one posterior to the next, which 8 bits can cost."
    )

    def prepare(self, context: Context) -> Self:
        """Take the seed."""
        return dataclasses.replace(self, seed=context.seed, kept={})

    def __call__(self, explainer: Explainer, data: Dataset, classifier: Classifier) -> tuple[Measured, ...]:
        """Return rank correlation, mean absolute errors, and shares of good series, with intervals by image or group."""
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed))[: self.images]
        most = affordable(explainer, data[order].image.to(classifier.device), self.bins, self.budget)
        order, asked = order[:most], (torch.arange(self.bins) + 0.5) / self.bins
        of, obtained = len(classifier.classes) - 1, []
        for rows in order.split(64):
            image = data[rows].image.to(classifier.device)
            answers = [explainer.at(image, float(value), of=of, seed=self.seed) for value in asked]
            obtained.append(torch.stack([answer.posterior_after[:, of].cpu() for answer in answers], 1))
        found = torch.cat(obtained)
        thin = torch.tensor([any(low <= value < high for low, high in explainer.thin_posteriors) for value in asked])
        self.kept.update(obtained=found, thin=thin)
        what, away = f"{self.bins} posteriors of {classifier.classes[of]}", (found - asked).abs()
        group = data[order].group
        bounds = interval_of(lambda rows: _rank_correlation(found[rows], asked), len(found), group, seed=self.seed)
        least, top = (None, None) if bounds is None else (bounds[0], min(bounds[1], 1.0))
        measured = [Measured(label="knob: rank correlation", value=_rank_correlation(found, asked), n=len(found), low=least,
                         high=top, better="higher", note=what)]  # fmt: skip
        for name, bins in (("", ~thin), (", thin bins", thin)):
            if bool(bins.any()):
                listed, error = ", ".join(f"{value:.2g}" for value in asked[bins]), away[:, bins].mean(1)
                measured.append(self._mean(f"knob: mean absolute error{name}", error, "lower", f"at {listed}", group))
        rises = (found.diff(dim=1) >= -FALL).all(1)
        ends = (found[:, 0] < 0.5) & (found[:, -1] > 0.5)
        said = f"{what}; a fall by {FALL} counts as none"
        measured.append(self._mean("knob: share of series that rise", rises, "higher", said, group))
        said = f"at {asked[0]:.2g} and {asked[-1]:.2g}"
        measured.append(self._mean("knob: share with both ends valid", ends, "higher", said, group))
        return tuple(measured)

    def _mean(self, label: str, values: Tensor, better: Better, note: str, group: Tensor | None) -> Measured:
        low, high = interval(values.double(), group, share=values.dtype == torch.bool, seed=self.seed) or (None, None)
        return Measured(label=label, value=float(values.double().mean()), n=len(values), low=low, high=high, better=better,
                        note=note)  # fmt: skip

    def curves(self) -> Mapping[str, tuple[list[float], list[float]]]:
        """Return the mean obtained posterior over the requested one, of all bins and of thin ones."""
        if "obtained" not in self.kept:
            return {}
        asked, found = (torch.arange(self.bins) + 0.5) / self.bins, self.kept["obtained"].mean(0)
        name, thin = "knob: obtained over requested posterior", self.kept["thin"]
        curves = {name: (asked.tolist(), found.tolist())}
        if bool(thin.any()):
            curves[f"{name}, thin bins only"] = (asked[thin].tolist(), found[thin].tolist())
        return curves


def _rank_correlation(obtained: Tensor, asked: Tensor) -> float:
    """Return Spearman's correlation of all (N, B) obtained with their (B,) requested posteriors; 0 if constant."""
    a = torch.from_numpy(rankdata(asked.expand_as(obtained).flatten().numpy()))
    b = torch.from_numpy(rankdata(obtained.flatten().numpy()))
    a, b = a - a.mean(), b - b.mean()
    scale = float((a.square().sum() * b.square().sum()).sqrt())
    return float((a * b).sum()) / scale if scale else 0.0


@dataclass(frozen=True)
class _Generated(SetMetric):
    """A figure of the classifier on the counterfactuals, with what was asked for as truth."""

    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual"})
    per_direction: ClassVar[bool] = False

    @property
    def features_of(self) -> str:
        """The posteriors of the counterfactuals."""
        return "posterior after"

    def features(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N, K)."""
        made(explanation)
        return explanation.posterior_after


@dataclass(frozen=True)
class GeneratedAccuracy(_Generated):
    """Balanced accuracy of the classifier on generated images."""

    name: ClassVar[str] = "generated_accuracy"
    title: ClassVar[str] = "balanced accuracy on generated images"
    formula: ClassVar[str] = "mean over the classes asked for of the share of their counterfactuals decided so"
    source: ClassVar[str] = "medXGAN table 1"
    about: ClassVar[str] = "Validity with every target class counting the same."

    def compute(self, features: Tensor, source: Tensor, target: Tensor) -> float:
        """Return the mean recall over the targets that occur."""
        decided = features.argmax(1)
        return float(torch.stack([(decided[target == k] == k).double().mean() for k in target.unique()]).mean())


@dataclass(frozen=True)
class GeneratedAuc(_Generated):
    """Area under the ROC curve of the classifier on generated images."""

    name: ClassVar[str] = "generated_auc"
    title: ClassVar[str] = "AUC on generated images"
    formula: ClassVar[str] = (
        "chance that a counterfactual towards k has a higher posterior of k than one towards another"
    )
    source: ClassVar[str] = "medXGAN table 1; the mean over classes where there are more than two"
    about: ClassVar[str] = "As balanced accuracy, without a threshold: 1 even where all posteriors are on one side."

    def compute(self, features: Tensor, source: Tensor, target: Tensor) -> float:
        """Return the mean over targets of one against the rest.

        Raises:
            NotApplicable: only one class was asked for.
        """
        classes = target.unique().tolist()
        if len(classes) < 2:
            raise NotApplicable("target: only one class was asked for, and an AUC needs two; pass target=None")
        scores = features.numpy()
        return float(sum(roc_auc_score((target == k).numpy(), scores[:, k]) for k in classes) / len(classes))
