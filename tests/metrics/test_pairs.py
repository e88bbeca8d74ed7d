"""Every class to every other: means over pairs and the worst one, by hand."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.evaluation import evaluate
from obverse.explainer import Answer, Explainer, Query
from obverse.explanation import NotApplicable
from obverse.metrics.pairs import AllPairs, _Mean
from tiny import MapOnly, Nothing, corner_classifier, corner_data

NAMES = ("dark", "grey", "bright")


class Levels(nn.Module):
    """Decides by the mean: below a third, up to two thirds, above; `shift` moves both borders."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.out = nn.Linear(16, 3)
        with torch.no_grad():
            self.out.weight.copy_(torch.tensor([0.0, 30.0, 60.0])[:, None].expand(3, 16) / 16)
            self.out.bias.copy_(torch.tensor([0.0, -10 - 30 * shift, -30 - 60 * shift]))

    def forward(self, image):
        return self.out(image.flatten(1))


def levels(shift: float = 0.0) -> Classifier:
    return Classifier(Levels(shift), NAMES, (1, 4, 4), device="cpu")


def data(each: int = 6) -> MemoryDataset:
    label = torch.arange(3 * each) % 3
    image = (1 / 6 + label / 3).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).clone()
    return MemoryDataset(Sample(image=image, label=label), NAMES, name="levels")


@dataclass(eq=False, kw_only=True)
class Painter(Explainer):
    """Paints the whole image in the middle of the target's range; from bright to dark it stops at grey."""

    name = "painter"
    needs_gradient = False

    def answer(self, query: Query) -> Answer:
        reached = torch.where((query.source == 2) & (query.target == 0), 1, query.target)
        return Answer(counterfactual=(1 / 6 + reached / 3).view(-1, 1, 1, 1).expand_as(query.image).float())


def test_means_and_the_worst_pair_by_hand():
    mean, worst, distance = AllPairs(images=4)(Painter(levels()), data(), levels())
    assert mean.label == "mean of 6 pairs: validity" and mean.value == pytest.approx(5 / 6) and mean.n == 6
    assert worst.label == "worst pair: validity bright -> dark" and worst.value == 0 and worst.n == 4
    # 4 neighbours and bright -> dark are a third apart, dark -> bright two thirds
    assert distance.label == "mean of 6 pairs: L1" and distance.value == pytest.approx((5 / 3 + 2 / 3) / 6, abs=2e-3)
    assert mean.note == "12 images, up to 4 of each decision"


def test_transfer_counts_what_the_second_classifier_decides():
    # its borders are 0.2 higher: grey (0.5) counts as dark, bright (0.833) as grey or brighter
    judge = levels(0.2)
    found = AllPairs(images=4, judge=judge)(Painter(levels()), data(), levels())
    rows = {row.label: row.value for row in found}
    painted = {(s, k): (1 if (s, k) == (2, 0) else k) for s in range(3) for k in range(3) if s != k}
    decided = [int(judge.decide(torch.full((1, 1, 4, 4), 1 / 6 + k / 3))) for k in range(3)]
    expected = sum(decided[shown] == k for (_, k), shown in painted.items()) / 6
    assert 0 < expected < 1
    assert rows["mean of 6 pairs: transfer to a second classifier"] == pytest.approx(expected)


def test_nothing_changed_is_never_valid():
    mean, worst, distance = AllPairs()(Nothing(levels()), data(), levels())
    assert (mean.value, worst.value) == (0, 0) and distance.value < 2e-3


def test_it_is_for_more_than_two_classes_and_for_counterfactuals():
    with pytest.raises(NotApplicable, match="all_pairs: with two classes"):
        AllPairs()(Nothing(corner_classifier()), corner_data(), corner_classifier())
    with pytest.raises(NotApplicable, match="counterfactual"):
        AllPairs()(MapOnly(levels()), data(), levels())


def test_evaluate_takes_the_second_classifier_along(tmp_path):
    report = evaluate(Painter(levels()), data(), second_classifier=levels(0.1), metrics=["all_pairs"], examples=0)
    labels = [row.label for row in report.rows]
    assert "mean of 6 pairs: transfer to a second classifier" in labels and not report.failures
    two = evaluate(Nothing(corner_classifier()), corner_data(), metrics=["all_pairs"], examples=0)
    assert "two classes" in two.skipped["every class to every other"]


def test_intervals_are_of_images_and_groups_and_never_of_width_zero():
    mean, _, distance = AllPairs(images=4)(Painter(levels()), data(), levels())
    assert mean.low == pytest.approx(mean.value) == pytest.approx(mean.high)  # every image of a pair does alike
    whole = AllPairs(images=1)(Shown(levels()), data(), levels())[0]
    assert whole.value == 1 and whole.low == pytest.approx(0.025 ** (1 / 3)) and whole.high == 1  # three images
    sample = data(6)[:]
    heads = MemoryDataset(dataclasses.replace(sample, group=torch.arange(18) // 9), NAMES, name="levels")
    assert AllPairs()(Shown(levels()), heads, levels())[0].low == pytest.approx(0.025 ** (1 / 2))  # two heads
    assert distance.low <= distance.value <= distance.high


def test_the_mean_of_pairs_counts_each_image_as_often_as_it_is_drawn():
    mean = _Mean([torch.tensor([0, 1]), torch.tensor([2])], 3, None, 0, "")
    values = [torch.tensor([1.0, 0.0]), torch.tensor([0.5])]
    assert mean._of(values, torch.tensor([3, 1, 1])) == pytest.approx((0.75 + 0.5) / 2)
    with pytest.raises(NotApplicable, match="all_pairs: a pair has no image"):
        mean._of(values, torch.tensor([3, 1, 0]))
    assert mean._of(values, torch.ones(3)) == pytest.approx((0.5 + 0.5) / 2)


@dataclass(eq=False, kw_only=True)
class Shown(Painter):
    """Paints what is asked for."""

    name = "shown"

    def answer(self, query: Query) -> Answer:
        return Answer(counterfactual=(1 / 6 + query.target / 3).view(-1, 1, 1, 1).expand_as(query.image).float())
