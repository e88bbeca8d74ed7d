"""The small classifiers: sizes, shapes, gradients, and made again from their config."""

import numpy as np
import pytest
import torch

from obverse.baselines.attribution import CAM
from obverse.classifier import Classifier
from obverse.explanation import NotApplicable
from obverse.networks.classifiers import LeNet, MeanResNet, ResNet, build, contrast


def test_lenet_has_the_published_size_up_to_its_second_output():
    parameters = sum(parameter.numel() for parameter in LeNet((1, 28, 28), 2).parameters())
    assert parameters == 1_217_473 + 129  # the published one has a single sigmoid


@pytest.mark.parametrize("network, shape", [
    (LeNet((1, 28, 28), 2, 4), (1, 28, 28)), (LeNet((3, 40, 64), 5, 4), (3, 40, 64)),
    (LeNet((1, 16, 12), 3, 4), (1, 16, 12)),
    (ResNet((1, 64, 64), 2, 4), (1, 64, 64)), (ResNet((3, 28, 28), 4, 4, 2), (3, 28, 28)),
    (MeanResNet((1, 32, 32), 3, 4), (1, 32, 32)), (ResNet((1, 32, 40), 2, 4, 2, False, 2), (1, 32, 40)),
])  # fmt: skip
def test_logits_and_a_gradient_for_every_layer(network, shape):
    torch.manual_seed(0)
    image = torch.rand(6, *shape)
    logits = network.train()(image)
    assert logits.shape == (6, network.classes)
    logits.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    network.eval()
    torch.testing.assert_close(network(image)[1:2], network(image[1:2]))
    again = build({"name": type(network).__name__, **network.config()})
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(image), network(image))


def test_lenet_drops_out_in_training_only():
    network = LeNet((1, 16, 16), 2, 4)
    image = torch.rand(2, 1, 16, 16)
    assert not torch.equal(network.train()(image), network(image))
    assert torch.equal(network.eval()(image), network(image))


def test_local_contrast_ignores_light_and_keeps_findings():
    torch.manual_seed(0)
    image = torch.rand(2, 1, 24, 30)
    slow = torch.linspace(0, 1, 24).view(1, 1, 24, 1)
    found = contrast(image, 5)
    padded = image[1, 0].numpy()
    mean = np.array([[padded[max(0, r - 2) : r + 3, max(0, c - 2) : c + 3].mean() for c in range(30)] for r in range(24)])
    left = padded - mean
    assert np.allclose(found[1, 0].numpy(), (left - left.mean()) / np.sqrt(left.var() + 1e-5), atol=1e-4)
    assert torch.allclose(contrast(0.3 * image + 0.4, 5), found, atol=2e-3)
    inside = (..., slice(2, -2), slice(None))
    assert (contrast(image + slow, 5)[inside] - found[inside]).abs().mean() < 0.02
    assert contrast(torch.full((1, 1, 8, 8), 0.5)).abs().max() == 0  # a flat image has none, and windows may exceed it
    network = ResNet((1, 24, 30), 2, 4, 2, local_contrast=True)
    again = build({"name": "ResNet", **network.config()})
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(image), network(image)) and again.local_contrast


def test_an_unknown_architecture():
    with pytest.raises(ValueError, match=r"architecture: expected one of LeNet, ResNet, MeanResNet, got 'VGG'; pass the empty"):
        build({"name": "VGG"})


def test_cam_finds_the_mean_that_it_needs_in_one_of_them_only():
    classes, shape = ["a", "b"], (1, 32, 32)
    found = CAM(Classifier(MeanResNet(shape, 2, 4), classes, shape, device="cpu"))
    assert found.layer == "blocks"
    with pytest.raises(NotApplicable, match="cam: the last linear layer does not see the means"):
        CAM(Classifier(ResNet(shape, 2, 4), classes, shape, device="cpu"))
