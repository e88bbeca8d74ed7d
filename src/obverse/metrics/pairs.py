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
from obverse.metrics.statistics import interval
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
        image = data[rows].image.to(classifier.device)
        valid, transfer, distance = dict[Pair, float](), dict[Pair, float](), dict[Pair, float]()
        for target in range(len(names)):
            asked = (decided != target).nonzero().flatten()
            for source in decided[asked].unique().tolist():
                some = asked[decided[asked] == source]
                answer, pair = explainer.explain(image[some], target, seed=self.seed), (int(source), target)
                valid[pair] = float(answer.valid.float().mean())
                distance[pair] = float((made(answer) - answer.image).abs().mean())
                if self.judge is not None:
                    agrees = self.judge.decide(made(answer).to(self.judge.device)) == target
                    transfer[pair] = float(agrees.float().mean())
        worst = min(valid, key=lambda pair: valid[pair])
        note = f"{len(rows)} images, up to {self.images} of each decision"
        found = [
            self._mean("validity", valid, "higher", note),
            Measured(label=f"worst pair: validity {names[worst[0]]} -> {names[worst[1]]}", value=valid[worst],
                     n=int((decided == worst[0]).sum()), better="higher"),
            self._mean("transfer to a second classifier", transfer, "higher", note),
            self._mean("L1", distance, "lower", note),
        ]  # fmt: skip
        return tuple(row for row in found if row is not None)

    def _chosen(self, data: Dataset, classifier: Classifier) -> tuple[Tensor, Tensor]:
        decided = classifier.posteriors(data).argmax(1).cpu()
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed))
        chosen = torch.cat([order[decided[order] == k][: self.images] for k in range(len(classifier.classes))])
        return chosen, decided[chosen].to(classifier.device)

    def _mean(self, what: str, pairs: dict[Pair, float], better: Better, note: str) -> Measured | None:
        if not pairs:
            return None
        values = torch.tensor(list(pairs.values()))
        low, high = interval(values, seed=self.seed) or (None, None)
        return Measured(label=f"mean of {len(pairs)} pairs: {what}", value=float(values.mean()), n=len(pairs), low=low,
                        high=high, better=better, note=note)  # fmt: skip
