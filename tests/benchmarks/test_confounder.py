"""The planted mark goes with the digit as often as asked, and flips are counted image by image."""

import pytest
import torch

from benchmarks.confounder import CORNER, Corner, figures, flipped, marked
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample


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
