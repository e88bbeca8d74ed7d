"""The critic: size, shapes, and a gradient for every layer."""

import pytest
import torch

from obverse.networks.critics import Critic


def test_it_has_as_many_numbers_as_the_published_digits_model():
    assert sum(parameter.numel() for parameter in Critic((1, 28, 28)).parameters()) == 204_961


@pytest.mark.parametrize("shape, levels", [((1, 28, 28), 3), ((3, 16, 24), 2), ((1, 7, 5), 3)])
def test_one_logit_an_image_and_a_gradient_for_every_layer(shape, levels):
    torch.manual_seed(0)
    critic = Critic(shape, width=4, levels=levels)
    image = torch.rand(3, *shape, requires_grad=True)
    logit = critic(image)
    assert logit.shape == (3,)
    logit.square().sum().backward()
    for name, parameter in critic.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert image.grad.abs().flatten(1).sum(1).min() > 0


def test_images_are_judged_alone():
    critic, image = Critic((1, 8, 8), width=4), torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(critic(image)[2:3], critic(image[2:3]))
