"""Nearest image against brute force."""

import pytest
import torch
from torch import nn

from baselines.baseline_nets import Shortcut, black_box, classifier, data, flat, images
from obverse.baselines.common import Gallery
from obverse.baselines.nearest import Nearest
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
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
    with pytest.raises(NotApplicable, match="space: the classifier has no linear layer whose features could be compared; pass"):
        bare = nn.Sequential(nn.Conv2d(data().image_shape[0], 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        Nearest(Classifier(bare, ["a", "b"], data().image_shape, device="cpu"), data(), space="features")
    chosen = classifier(Shortcut())
    one = data().subset(chosen.decide(data()[slice(None)].image) == 0)
    with pytest.raises(ValueError, match="reference: the classifier decides 'b' for none of its"):
        Nearest(chosen, one).explain(images(2), "b")


def test_large_images_are_looked_at_few_at_a_time():
    sizes = []
    for side in (12, 512):
        module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
        whole = Classifier(module, ["a", "b"], (1, side, side), device="cpu")
        image = torch.rand(6, 1, side, side, generator=torch.Generator().manual_seed(0))
        gallery = Gallery(whole, MemoryDataset(Sample(image=image), ["a", "b"]), "features")
        whole.module[2].register_forward_pre_hook(lambda _, inputs, sizes=sizes: sizes.append(len(inputs[0])))
        gallery.places  # noqa: B018
    assert sizes[:1] == [6] and sizes[1:] == [4, 2]
