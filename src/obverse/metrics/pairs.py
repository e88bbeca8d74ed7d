"""Is it valid for every target? Each class against each other, for methods that can be asked for any."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.explainer import Explainer
from obverse.explanation import NotApplicable
from obverse.metrics.base import Better, Context, Measured, Probe
from obverse.metrics.statistics import interval, interval_of
from obverse.metrics.validity import QUESTION, made

Pair = tuple[int, int]


@dataclass(frozen=True)
class AllPairs(Probe):
    """Validity, transfer and distance of every pair of classes, each pair counting alike.

    Args:
        images: of each decision, the first ones of a seeded order.
        seed: of that order and of the answers.
    """

    images: int = 50
    seed: int = 0
    judge: Classifier | None = field(default=None, repr=False)

    name: ClassVar[str] = "all_pairs"
    title: ClassVar[str] = "every class to every other"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean, and least, over pairs i -> k of the mean of [argmax f(x') = k] over images decided i"
    source: ClassVar[str] = "SyCE eq. S20 asks for the explanations; measured as C3LT eq. 9"
    about: ClassVar[str] = (
        "The other figures ask for the runner-up, which is the easiest target; this one asks for all. Transfer is the "
        "share that a second classifier decides as the target, valid or not. Only for three classes and more."
    )

    def prepare(self, context: Context) -> Self:
        """Take the second classifier, if there is one, and the seed."""
        return dataclasses.replace(self, judge=context.second_classifier, seed=context.seed)

    def __call__(self, explainer: Explainer, data: Dataset, classifier: Classifier) -> tuple[Measured, ...]:
        """Return means over the pairs, and the worst pair."""
        names = classifier.classes
        if len(names) < 3:
            raise NotApplicable("all_pairs: with two classes the figures by direction say the same")
        rows, decided = self._chosen(data, classifier)
        image, group = data[rows].image.to(classifier.device), data[rows].group
        asked_of: list[Tensor] = []  # which of the chosen images each figure is of
        valid, transfer, distance = list[Tensor](), list[Tensor](), list[Tensor]()
        pairs: list[Pair] = []
        for target in range(len(names)):
            asked = (decided != target).nonzero().flatten()
            for source in decided[asked].unique().tolist():
                some = asked[decided[asked] == source]
                answer = explainer.explain(image[some], target, seed=self.seed)
                pairs.append((int(source), target))
                asked_of.append(some.cpu())
                valid.append(answer.valid.float().cpu())
                distance.append((made(answer) - answer.image).abs().flatten(1).mean(1).cpu())
                if self.judge is not None:
                    transfer.append((self.judge.decide(made(answer).to(self.judge.device)) == target).float().cpu())
        each = [float(values.mean()) for values in valid]
        worst, least = pairs[each.index(min(each))], min(each)
        note = f"{len(rows)} images, up to {self.images} of each decision"
        mean = _Mean(asked_of, len(rows), group, self.seed, note)
        found = [
            mean("validity", valid, "higher", share=True),
            Measured(label=f"worst pair: validity {names[worst[0]]} -> {names[worst[1]]}", value=least,
                     n=int((decided == worst[0]).sum()), better="higher"),
            *([mean("transfer to a second classifier", transfer, "higher", share=True)] if transfer else []),
            mean("L1", distance, "lower", share=False),
        ]  # fmt: skip
        return tuple(found)

    def _chosen(self, data: Dataset, classifier: Classifier) -> tuple[Tensor, Tensor]:
        decided = classifier.posteriors(data).argmax(1).cpu()
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed))
        chosen = torch.cat([order[decided[order] == k][: self.images] for k in range(len(classifier.classes))])
        return chosen, decided[chosen].to(classifier.device)


@dataclass(frozen=True)
class _Mean:
    """The mean over pairs of the means over images, with an interval from drawing images, or groups, anew.

    Args:
        asked_of: for each pair, which of the chosen images its figures are of.
        count: how many images were chosen.
        group: (count,) that is drawn as a whole, or None.
        seed: of the draws.
        note: for the row.
    """

    asked_of: list[Tensor]
    count: int
    group: Tensor | None
    seed: int
    note: str

    def __call__(self, what: str, values: list[Tensor], better: Better, *, share: bool) -> Measured:
        """Return the row; `values` has one tensor a pair."""
        whole = torch.cat(values)
        if share and bool((whole == whole[0]).all()):  # drawing anew gives the same: the exact interval, as for any share
            bounds = interval(whole[:1].expand(self.count), self.group, share=True)
        else:
            bounds = interval_of(lambda rows: self._of(values, torch.bincount(rows, minlength=self.count)), self.count,
                                 self.group, seed=self.seed)  # fmt: skip
        low, high = (None, None) if bounds is None else bounds
        if share and low is not None and high is not None:
            low, high = max(low, 0.0), min(high, 1.0)
        value = self._of(values, torch.ones(self.count))
        return Measured(label=f"mean of {len(values)} pairs: {what}", value=value, n=len(values), low=low, high=high,
                        better=better, note=self.note)  # fmt: skip

    def _of(self, values: list[Tensor], times: Tensor) -> float:
        """Return the mean over pairs, each image counting as often as it is drawn.

        Raises:
            NotApplicable: a pair without an image, which interval_of leaves out.
        """
        weights = [times[rows] for rows in self.asked_of]
        if not all(bool(weight.sum()) for weight in weights):
            raise NotApplicable("all_pairs: a pair has no image")
        means = [float((figures * weight).sum() / weight.sum()) for figures, weight in zip(values, weights, strict=True)]
        return sum(means) / len(means)
