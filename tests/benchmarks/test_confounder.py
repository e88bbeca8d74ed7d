"""The planted mark goes with the digit as often as asked, and flips are counted image by image."""

import pytest
import torch
from torch import nn

from benchmarks.confounder import CORNER, Corner, compared, controlled, figures, flipped, marked
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.explainer import Answer, Explainer


def digits(count):
    image = torch.zeros(count, 1, 28, 28)
    image[:, :, 10:18, 12:16] = 0.9
    return MemoryDataset(Sample(image=image, label=torch.arange(count) % 2), ["3", "8"], name="digits")


def test_a_share_of_each_class_is_marked_and_the_corner_alone_tells():
    data = marked(digits(2000), (0.1, 0.9), seed=0)
    mark = data[:].attributes[:, 0]
    for k, wanted in enumerate((0.1, 0.9)):
        assert float(mark[data.labels() == k].mean()) == pytest.approx(wanted, abs=0.03)
    assert torch.equal(Corner()(data[:].image)[:, 0] > 0, mark > 0)
    elsewhere = data[:].image.clone()
    elsewhere[:, :, CORNER, CORNER] = 0
    assert torch.equal(elsewhere, digits(2000)[:].image)


def test_flips_worked_by_hand():
    flips = {"biased": torch.tensor([1.0, 1, 0, 1, 1]), "unbiased": torch.tensor([0.0, 1, 0, 0, 1])}
    valid = {kind: torch.tensor([True, True, False, True, False]) for kind in flips}
    found = figures(flips, valid, torch.tensor([True, True, True, True, False]))
    assert found["images"] == 4 and found["difference"] == 0.5 and found["ratio"] == 3.0
    assert found["valid"] == {"biased": 0.75, "unbiased": 0.75}
    assert figures(flips, valid, torch.zeros(5, dtype=torch.bool)) == {"images": 0}


def test_a_flip_is_a_mark_that_comes_or_goes():
    judge = Classifier(Corner(), classes=["mark"], image_shape=(1, 28, 28), head="multilabel")
    plain = digits(4)[:].image
    there = plain.clone()
    there[:, :, CORNER, CORNER] = 0.8
    before, after = torch.cat([plain[:2], there[2:]]), torch.cat([plain[:1], there[1:3], plain[3:]])
    assert flipped(judge, before, after).tolist() == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="expected counterfactuals, got a map alone"):
        flipped(judge, before, None)


def test_without_labels_there_is_nothing_to_go_with():
    with pytest.raises(ValueError, match="expected labels, got none; the mark goes with the class"):
        marked(MemoryDataset(Sample(image=torch.zeros(2, 1, 28, 28)), []), (0, 1), seed=0)


class Whole(nn.Module):
    """Decides by the mean brightness, in which the mark has a part."""

    def forward(self, image):
        return 100 * torch.stack([0.12 - image.mean((1, 2, 3)), image.mean((1, 2, 3)) - 0.12], 1)


class Marks(Explainer):
    """Brightens or darkens the digit until it is decided otherwise, and takes the mark along if it is told to."""

    name = "marks"
    with_mark = False

    def answer(self, query):
        image = query.image.clone()
        image[:, :, 10:18, 12:16] = torch.where(query.target == 1, 1.0, 0.0)[:, None, None, None]
        image[:, :, 8:20, 14:26] = torch.where(query.target == 1, 1.0, 0.0)[:, None, None, None]
        if self.with_mark:
            has = image[:, :, CORNER, CORNER].mean((1, 2, 3)) > 0.25
            image[:, :, CORNER, CORNER] = torch.where(has, 0.0, 0.8)[:, None, None, None]
        return Answer(counterfactual=image, stable=query.image)


def test_explainers_of_both_classifiers_are_compared_image_by_image():
    test = marked(digits(40), (0.5, 0.5), seed=0)
    test[:].image[20:, :, 8:20, 14:26] = 1.0  # half of them bright
    classifier = Classifier(Whole(), ["3", "8"], (1, 28, 28))
    judge = Classifier(Corner(), classes=["mark"], image_shape=(1, 28, 28), head="multilabel")
    biased, unbiased = Marks(classifier), Marks(classifier)
    biased.with_mark = True
    found = compared({"biased": biased, "unbiased": unbiased}, test, judge)
    assert found["images decided alike"] == 1
    ways = [way for way in found if way.startswith("from ") and found[way]["images"]]
    assert len(ways) >= 2  # against the image, and against the image remade
    for way in ways:
        row = found[way]
        assert row["flips"]["biased"]["share"] == row["difference"] == 1 and row["flips"]["unbiased"]["share"] == 0
        assert row["ratio"] is None and row["valid"] == {"biased": 1.0, "unbiased": 1.0}
    assert {row["metric"] for row in found["all figures"]["biased"]} == {"validity", "confounding", "l1"}


def test_the_control_counts_the_flips_of_one_explainer_alone():
    test = marked(digits(40), (0.5, 0.5), seed=0)
    test[:].image[20:, :, 8:20, 14:26] = 1.0
    classifier = Classifier(Whole(), ["3", "8"], (1, 28, 28))
    judge = Classifier(Corner(), classes=["mark"], image_shape=(1, 28, 28), head="multilabel")
    explainer = Marks(classifier)
    for with_mark in (False, True):
        explainer.with_mark = with_mark
        found = controlled(explainer, test, judge)
        assert list(found) == ["from 3", "from 8", "from 3, against the image remade", "from 8, against the image remade"]
        assert sum(found[f"from {k}"]["images"] for k in "38") == 40
        some = [row for row in found.values() if row["images"]]
        assert all(row["share"] == with_mark and row["valid"] == 1 for row in some) and len(some) >= 2
