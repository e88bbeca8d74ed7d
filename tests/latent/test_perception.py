"""What layers of a classifier see, against the layers themselves."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from obverse.classifier import Classifier
from obverse.explanation import NotApplicable
from obverse.latent.perception import Perception
from obverse.networks.classifiers import LeNet, ResNet
from tiny_core import SHAPE, bright_classifier
from tiny_latent import blocks_classifier


def test_layers_are_the_convolutions_before_each_pooling():
    perception = Perception(blocks_classifier())
    assert perception.layers == ("conv1", "conv2")
    assert Perception(Classifier(LeNet(SHAPE, 2, width=2), ["a", "b"], SHAPE, device="cpu")).layers == ("conv1", "conv2")
    deep = Perception(Classifier(ResNet(SHAPE, 2, width=2), ["a", "b"], SHAPE, device="cpu"))
    sizes = [tuple(value.shape[2:]) for value in deep(torch.rand(1, *SHAPE))]
    assert sizes == [(16, 16), (8, 8), (4, 4)] and deep.layers[-1] == "blocks.5.conv2"
    assert Perception(bright_classifier()).layers == ()  # no convolution
    assert Perception(bright_classifier())(torch.rand(1, *SHAPE)) == []


def test_it_returns_the_positive_part_of_what_the_layer_made():
    classifier = blocks_classifier()
    net, image = classifier.module, torch.rand(3, *SHAPE)
    first = F.relu(net.conv1(image))
    second = F.relu(net.conv2(F.max_pool2d(first, 2)))
    for seen, expected in zip(Perception(classifier)(image), (first, second), strict=True):
        torch.testing.assert_close(seen, expected)
    (only,) = Perception(classifier, ("conv2",))(image)
    torch.testing.assert_close(only, second)  # although the ReLU after it works in place


def test_a_gradient_comes_back_and_no_hook_stays():
    classifier = blocks_classifier()
    image = torch.rand(2, *SHAPE, requires_grad=True)
    seen = Perception(classifier)(image)
    (gradient,) = torch.autograd.grad(sum(one.sum() for one in seen), image)
    assert gradient.abs().sum() > 0
    assert not any(one.requires_grad for one in Perception(classifier)(image.detach()))
    assert not any(module._forward_hooks for module in classifier.module.modules())


def test_distances_are_the_mean_differences_with_a_gradient_to_what_was_made_alone():
    classifier = blocks_classifier()
    made, image = (torch.rand(3, *SHAPE, requires_grad=True) for _ in range(2))
    perception = Perception(classifier)
    plain = [(one - other).abs().mean() for one, other in zip(perception(made), perception(image.detach()))]
    found = perception.distances(made, image)
    torch.testing.assert_close(found, plain)
    weighed = [sum(k * one for k, one in enumerate(distances, 1)) for distances in (found, plain)]
    (ours, theirs) = (torch.autograd.grad(total, made, retain_graph=True)[0] for total in weighed)
    assert theirs.abs().sum() > 0
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.grad(weighed[0], image, allow_unused=True) == (None,)


def test_distances_of_half_precision_are_summed_in_float32():
    classifier = blocks_classifier()
    made, image = torch.rand(3, *SHAPE, requires_grad=True), torch.rand(3, *SHAPE)
    with torch.autocast("cpu", torch.bfloat16):
        seen, found = Perception(classifier)(made), Perception(classifier).distances(made, image)
    assert {one.dtype for one in seen} == {torch.bfloat16} and {one.dtype for one in found} == {torch.float32}
    torch.testing.assert_close(found, Perception(classifier).distances(made, image), rtol=0.02, atol=1e-3)


def test_normalisation_is_the_classifiers():
    plain = blocks_classifier()
    scaled = Classifier(plain.module, ["a", "b"], SHAPE, mean=[0.5], std=[0.25], device="cpu")
    image = torch.rand(2, *SHAPE)
    (seen,) = Perception(scaled, ("conv1",))(image)
    torch.testing.assert_close(seen, F.relu(plain.module.conv1((image - 0.5) / 0.25)))


def test_layers_that_are_not_there_or_do_not_run():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(256, 2), nn.Linear(2, 2)

        def forward(self, image):
            return self.used(image.flatten(1))

    classifier = Classifier(Idle(), ["a", "b"], SHAPE, device="cpu")
    with pytest.raises(ValueError, match="layers: expected names of modules of Idle such as used, idle, got 'conv1'"):
        Perception(classifier, ("conv1",))
    with pytest.raises(ValueError, match="layers: 'idle' does not run, or returns no tensor; name another layer"):
        Perception(classifier, ("used", "idle"))


def test_a_black_box_shows_no_layers():
    classifier = Classifier.black_box(lambda image: image.flatten(1)[:, :2], ["a", "b"], SHAPE)
    said = "perception: expected a classifier with a gradient, got a black box; pass one that wraps a module, or none"
    with pytest.raises(NotApplicable, match=said):
        Perception(classifier)
