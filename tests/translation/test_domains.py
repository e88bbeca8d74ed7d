"""Domains by label and by decision, and every refusal."""

import pytest
import torch

from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.methods import METHODS
from obverse.translation.domains import MULTI_CLASS, check_two_classes, domain_of_each
from tiny_core import SHAPE, bright_classifier, bright_data


def several(count: int = 3) -> Classifier:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, count))
    return Classifier(network, list("abcdefgh")[:count], SHAPE, device="cpu")


def labelled(labels: list[int], classes: list[str]) -> MemoryDataset:
    image = bright_data(len(labels)).sample.image
    return MemoryDataset(Sample(image=image, label=torch.tensor(labels)), classes)


def test_labels_and_decisions_differ():
    data = labelled([1, 1, 0, 0], ["dark", "bright"])  # the first two are dark
    assert domain_of_each(data, bright_classifier(), "label", "cxgan").tolist() == [1, 1, 0, 0]
    assert domain_of_each(data, bright_classifier(), "decision", "cxgan").tolist() == [0, 0, 1, 1]


def test_labels_are_numbered_as_the_classifier_numbers_its_classes():
    data = labelled([0, 0, 1, 0], ["bright", "dark"])
    assert domain_of_each(data, bright_classifier(), "label", "cxgan").tolist() == [1, 1, 0, 1]


def test_by_label_the_classifier_is_not_asked():
    def never(image):
        if len(image) == 4:  # the images of the data; the probe has six
            raise AssertionError("asked")
        return image.flatten(1)[:, :2]

    classifier = Classifier.black_box(never, ["dark", "bright"], SHAPE)
    data = labelled([0, 1, 0, 1], ["dark", "bright"])
    assert domain_of_each(data, classifier, "label", "cxgan").tolist() == [0, 1, 0, 1]
    with pytest.raises(AssertionError, match="asked"):
        domain_of_each(data, classifier, "decision", "cxgan")


def test_the_multi_class_method_is_named_and_exists():
    assert MULTI_CLASS in METHODS
    with pytest.raises(ValueError, match=rf"vagan translates between 2 classes, got 3 \(a, b, c\); take a view, "
                                         rf"classifier.against_rest\('a'\), or use {MULTI_CLASS}"):  # fmt: skip
        check_two_classes(several(), "vagan")
    check_two_classes(several().against_rest("b"), "vagan")
    check_two_classes(bright_classifier(), "vagan")
    three = labelled([0, 1, 2, 0], ["a", "b", "c"])
    with pytest.raises(ValueError, match=rf"data: cxgan compares 2 groups of images, got 3 classes \(a, b, c\); .* "
                                         rf"use {MULTI_CLASS} for all pairs, or domains='decision'"):  # fmt: skip
        domain_of_each(three, several().against_rest("b"), "label", "cxgan")


def test_a_view_has_domains_by_decision():
    view = several().against_rest("b")
    images = torch.rand(40, *SHAPE)
    view.module[1].weight.data.mul_(20)
    data = MemoryDataset(Sample(image=images, label=torch.arange(40) % 3), ["a", "b", "c"])
    assert torch.equal(domain_of_each(data, view, "decision", "cxgan"), view.decide(images))


def test_other_refusals():
    classifier = bright_classifier()
    with pytest.raises(ValueError, match="compares two labelled groups of images, got images without labels; pass labels, "
                                         "or domains='decision'"):  # fmt: skip
        domain_of_each(MemoryDataset(Sample(image=torch.rand(2, *SHAPE)), ["dark", "bright"]), classifier, "label", "cxgan")
    with pytest.raises(ValueError, match=r"expected labels of the classifier's classes \(dark, bright\), got black; name"):
        domain_of_each(labelled([0, 1], ["black", "bright"]), classifier, "label", "cxgan")
    with pytest.raises(ValueError, match="no image is labelled 'bright' among these 2 images; cxgan needs images of both"):
        domain_of_each(labelled([0, 0], ["dark", "bright"]), classifier, "label", "cxgan")
    with pytest.raises(ValueError, match=r"syce translates between dark and bright, got images of 3 classes \(dark, bright, "
                                         "grey\\); open those two of them, .* use conditional_syce or a view"):  # fmt: skip
        domain_of_each(labelled([0, 1, 2], ["dark", "bright", "grey"]), classifier, "decision", "syce")
    dark = labelled([0, 1, 0, 0, 0, 0], ["dark", "bright"]).subset([0, 1])
    with pytest.raises(ValueError, match="the classifier never decides 'bright' on these 2 images"):
        domain_of_each(dark, classifier, "decision", "cxgan")
