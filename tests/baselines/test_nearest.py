"""Nearest image against brute force."""

import pytest
import torch

from baselines.baseline_nets import Shortcut, black_box, classifier, data, flat, images
from obverse.baselines.common import Gallery
from obverse.baselines.nearest import Nearest
from obverse.explanation import NotApplicable


@pytest.mark.parametrize("space", ["features", "pixels"])
def test_nearest_against_brute_force(space):
    chosen, reference = classifier(), data(30)
    x = images(5)
    found = Nearest(chosen, reference, space=space).explain(x)
    everything = reference[slice(None)].image
    decided = chosen.decide(everything)
    place = chosen.features if space == "features" else (lambda image: image.flatten(1))
    where, own = place(everything), place(x)
    for row in range(5):
        best, least = -1, float("inf")
        for index in range(30):
            distance = float((where[index] - own[row]).square().sum())
            if decided[index] == found.target[row] and distance < least:
                best, least = index, distance
        torch.testing.assert_close(found.counterfactual[row], everything[best], rtol=0, atol=0.5 / 255 + 1e-6)
    assert found.valid.all()


def test_the_reference_is_looked_at_once():
    chosen, reference = classifier(), data(30)
    explainer = Nearest(chosen, reference)
    first = explainer.explain(images(3))
    reads = []
    reference.batches = lambda *_: reads.append(1)  # type: ignore[method-assign]
    torch.testing.assert_close(explainer.explain(images(3)).counterfactual, first.counterfactual)
    assert not reads


def test_auto_takes_what_there_is():
    assert Gallery(classifier(), data()).space == "features"
    assert Gallery(black_box(), data()).space == "pixels"
    assert Nearest(classifier(flat()), data()).describe() | {"classifier": ""} == {
        "method": "nearest", "hyperparameters": {"space": "auto"}, "classifier": "", "reference": "noise train",
        "searched in": "features",
    }  # fmt: skip


def test_errors_name_argument_expectation_and_remedy():
    with pytest.raises(NotApplicable, match="space: a black box shows no features; pass space='pixels'"):
        Nearest(black_box(), data(), space="features")
    chosen = classifier(Shortcut())
    one = data().subset(chosen.decide(data()[slice(None)].image) == 0)
    with pytest.raises(ValueError, match="reference: the classifier decides 'b' for none of its"):
        Nearest(chosen, one).explain(images(2), "b")
