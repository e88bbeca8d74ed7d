"""PairExplainer: a learned method with one way from class to class for each pair that it was trained for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from obverse.data.base import Dataset
from obverse.explainer import LearnedExplainer, Query, Target
from obverse.explanation import NotApplicable
from obverse.translation.domains import Domains, check_known


@dataclass(eq=False, kw_only=True)
class PairExplainer(LearnedExplainer):
    """A learned explainer of class pairs, both directions of each.

    An image that is decided as neither class of a pair takes the way from the more probable one, as it would by its label.

    Args:
        pairs: names of two classes each; empty is the one pair of a classifier with two classes.
        domains: whether training images are of a class by what the classifier decides or by their label, as in the paper;
            only the label is of use for a class that the classifier never decides. Samples of a generator have no labels:
            there it is the decision.

    Raises:
        ValueError: an unknown class, a pair of one class with itself or that is there twice, or no pairs for a classifier
            of more than two classes.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    domains: Domains = "decision"

    def __post_init__(self) -> None:
        super().__post_init__()
        classes = self.classifier.classes
        if not self.pairs:
            if len(classes) > 2:
                raise ValueError(f"pairs: {self.name} needs to know which of the {len(classes)} classes to connect, got "
                                 f"none; pass e.g. pairs=(({classes[0]!r}, {classes[1]!r}),)")  # fmt: skip
            self.pairs = ((classes[0], classes[1]),)
        ways: list[tuple[int, int]] = []
        for pair in self.pairs:
            if isinstance(pair, str) or len(pair) != 2:
                raise ValueError(f"pairs: expected two names each, got {pair!r}; pass e.g. "
                                 f"pairs=(({classes[0]!r}, {classes[1]!r}),)")  # fmt: skip
            first, second = (self.classifier.index(name) for name in pair)
            if first == second or (first, second) in ways:
                raise ValueError(f"pairs: expected different pairs of different classes, got {pair!r} in {self.pairs!r}; "
                                 "leave it out")  # fmt: skip
            ways += [(first, second), (second, first)]
        self.ways = tuple(ways)
        """Every direction, as (source, target) indices; those of a pair side by side."""
        self.used = tuple(sorted({source for source, _ in ways}))
        """The classes that are in a pair, in order."""

    def groups(self, data: Dataset) -> Tensor:
        """Return the place in `used` of each image's class, -1 for classes of no pair.

        Raises:
            ValueError: a class without images, images of more classes than a classifier of two knows, or images without labels
                where `domains` asks for them.
        """
        found = self._classes_of(data)
        place = torch.full((len(self.classifier.classes) + 1,), -1)  # the last for labels of no class
        place[list(self.used)] = torch.arange(len(self.used))
        found = place[found]
        counts = torch.bincount(found[found >= 0], minlength=len(self.used)).tolist()
        if min(counts) == 0:
            never = self.classifier.classes[self.used[counts.index(0)]]
            said = "the classifier never decides" if self.domains == "decision" else "no label is"
            raise ValueError(f"data: {said} {never!r} on these {len(data)} images; {self.name} needs images of both classes "
                             "of a pair: pass others, or see domains")  # fmt: skip
        return found

    def validate(self, data: Dataset) -> float:
        """Return 1 - validity + mean L1 over the images of a class that is in a pair.

        Raises:
            ValueError: there is none.
        """
        return super().validate(self.of_pairs(data))

    def of_pairs(self, data: Dataset) -> Dataset:
        """Return the images of a class that is in a pair.

        Raises:
            ValueError: there is none, or images without labels where `domains` asks for them.
        """
        rows = torch.isin(self._classes_of(data), torch.tensor(self.used))
        if not bool(rows.any()):
            names = ", ".join(self.classifier.classes[k] for k in self.used)
            raise ValueError(f"data: expected images of {names} for {self.name}, got none among these {len(data)}; pass "
                             "others, or see domains")  # fmt: skip
        return data if bool(rows.all()) else data.subset(rows.nonzero().flatten())

    def _classes_of(self, data: Dataset) -> Tensor:
        """Return (N,) the class of each image, -1 for a label that the classifier does not know."""
        if self.domains == "decision":
            check_known(data, self.classifier, self.name)
            return self.classifier.posteriors(data).argmax(1).cpu()
        labels, known = data.labels(), self.classifier.classes
        if labels is None:
            raise ValueError("data: domains='label' needs labelled images, got images without labels; pass labels, or "
                             "domains='decision'")  # fmt: skip
        return torch.tensor([known.index(name) if name in known else -1 for name in data.classes])[labels.cpu()]

    def way(self, query: Query) -> Tensor:
        """Return (M,) which of `ways` each row takes, -1 where nothing has to change.

        Raises:
            NotApplicable: a target that no pair leads to.
        """
        reach = self._reach.to(query.source.device)
        stays = query.source == query.target
        for target in query.target[~stays].unique().tolist():
            if not bool(reach[:, target].any()):
                made_for = ", ".join(f"{one} - {other}" for one, other in self.pairs)
                raise NotApplicable(f"target: {self.name} was made for the pairs {made_for}, got "
                                    f"{self.classifier.classes[target]!r}; ask for another or fit with that pair")  # fmt: skip
        source = query.source.clone()
        lost = ~stays & ~reach[source, query.target]
        if bool(lost.any()):
            known = query.before
            posterior = self.classifier.posterior(query.image[lost]) if known is None else known[lost]
            source[lost] = posterior.masked_fill(~reach[:, query.target[lost]].T, -1).argmax(1)
        way = torch.full_like(source, -1)
        for index, (first, second) in enumerate(self.ways):
            way[~stays & (source == first) & (query.target == second)] = index
        return way

    def way_of(self, source: int | str, target: int | str) -> int:
        """Return which of `ways` leads from one class to another.

        Raises:
            ValueError: no pair holds these two classes.
        """
        way = (self.classifier.index(source), self.classifier.index(target))
        if way not in self.ways:
            known = ", ".join(f"{one} - {other}" for one, other in self.pairs)
            raise ValueError(f"source, target: {self.name} was made for the pairs {known}, got {source!r} and {target!r}; "
                             "fit one for that pair")  # fmt: skip
        return self.ways.index(way)

    @property
    def _reach(self) -> Tensor:
        """(K, K) bool, whether a way leads from the row's class to the column's."""
        count = len(self.classifier.classes)
        reach = torch.zeros(count, count, dtype=torch.bool)
        for source, target in self.ways:
            reach[source, target] = True
        return reach

    def _target(self, target: Target, posterior: Tensor) -> Tensor:
        if target is not None:
            return super()._target(target, posterior)
        reach, source = self._reach.to(posterior.device), posterior.argmax(1)
        open_to = reach[source]
        lost = ~open_to.any(1)
        open_to[lost] = reach.any(0)
        return posterior.masked_fill(~open_to, -1).argmax(1)  # the runner-up among the classes that a way leads to
