import pytest
import torch
from torch import nn

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.evaluation import evaluate
from obverse.explanation import NotApplicable
from obverse.metrics.confounding import Confounding
from tiny import SIZE, Negative, corner_classifier, corner_data, explanation_of


class Halves(nn.Module):
    """Two labels: is the left half bright, is the right half bright?"""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(SIZE * SIZE, 2)
        weight = torch.zeros(2, SIZE, SIZE)
        weight[0, :, : SIZE // 2], weight[1, :, SIZE // 2 :] = 1, 1
        with torch.no_grad():
            self.head.weight.copy_(weight.flatten(1))
            self.head.bias.fill_(-0.5 * SIZE * SIZE / 2)

    def forward(self, image):
        return self.head(image.flatten(1))


def halves():
    return Classifier(Halves(), ["left", "right"], (1, SIZE, SIZE), head="multilabel", device="cpu")


def picture(left, right):
    image = torch.full((1, SIZE, SIZE), float(right))
    image[..., : SIZE // 2] = left
    return image


def test_flips_worked_by_hand():
    image = torch.stack([picture(0, 0), picture(1, 0), picture(1, 1), picture(0, 1)])
    other = torch.stack([picture(1, 0), picture(1, 0), picture(0, 0), picture(1, 1)])
    stable = torch.stack([picture(0, 0), picture(1, 1), picture(1, 1), picture(0, 1)])
    answer = explanation_of(image, other, stable=stable)
    metric = Confounding(halves())
    features = metric.features(answer, Sample(image=image), corner_classifier())
    none = torch.zeros(4, dtype=torch.int64)
    # left flips in 3 of 4, right in 1 of 4; the stable image flips right once: (3/4 + 0) / 2
    assert metric.compute(features, none, none) == pytest.approx(0.375)
    beside = metric.beside(features, none, none)
    assert beside["left"] == 0.75 and beside["right"] == 0.0
    assert beside["left, images with it (n = 2)"] == 0.5 and beside["left, images without it (n = 2)"] == 1.0
    assert beside["right, images with it (n = 2)"] == 0.5 and beside["right, images without it (n = 2)"] == -0.5


def test_in_the_report_with_an_interval():
    report = evaluate(
        Negative(corner_classifier()), corner_data(), metrics=["confounding"], attribute_classifier=halves()
    )
    row = report.row("confounding")
    assert row.value == 1.0 and row.low is None  # the negative flips both halves of every image: no draw differs
    assert row.n == 24


def test_what_is_explained_is_asked_to_flip_and_counts_for_nothing():
    judge = halves()
    flips = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]] * 3)  # the first of two flips, the second stays
    some, one = Confounding(judge, explained=("no", judge.classes[0])), Confounding(judge)
    nothing = torch.zeros(3, dtype=torch.int64)
    assert (some.compute(flips, nothing, nothing), one.compute(flips, nothing, nothing)) == (0.0, 0.5)
    with pytest.raises(NotApplicable, match=r"attribute_classifier: it knows only .*, which is asked to flip"):
        Confounding(judge, explained=judge.classes).compute(flips, nothing, nothing)


def test_what_is_missing_or_wrong_is_named():
    image = torch.zeros(2, 1, SIZE, SIZE)
    with pytest.raises(NotApplicable, match="attribute_classifier: pass attribute_classifier="):
        Confounding().attributes(image)
    with pytest.raises(ValueError, match="attribute_classifier: expected a classifier with head='multilabel'"):
        Confounding(corner_classifier()).attributes(image)
    report = evaluate(Negative(corner_classifier()), corner_data(), metrics=["confounding"])
    assert report.skipped["attributes that flip"].startswith("attribute_classifier: pass")
