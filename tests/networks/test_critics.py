"""The critic: size, shapes, and a gradient for every layer."""

import pytest
import torch

from obverse.networks.critics import Critic, PooledCritic


def test_it_has_as_many_numbers_as_the_published_digits_model():
    assert sum(parameter.numel() for parameter in Critic((1, 28, 28)).parameters()) == 204_961


@pytest.mark.parametrize("hidden", [0, 8])
@pytest.mark.parametrize("shape, levels", [((1, 28, 28), 3), ((3, 16, 24), 2), ((1, 7, 5), 3)])
def test_one_logit_an_image_and_a_gradient_for_every_layer(shape, levels, hidden):
    torch.manual_seed(0)
    critic = Critic(shape, width=4, levels=levels, hidden=hidden)
    image = torch.rand(3, *shape, requires_grad=True)
    logit = critic(image)
    assert logit.shape == (3,)
    logit.square().sum().backward()
    for name, parameter in critic.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert image.grad.abs().flatten(1).sum(1).min() > 0


@pytest.mark.parametrize("hidden, alone", [(0, True), (16, False)])
def test_only_a_hidden_layer_lets_far_apart_places_depend_on_each_other(hidden, alone):
    torch.manual_seed(0)
    critic = Critic((1, 32, 32), width=4, levels=2, hidden=hidden).double()
    none, first, second = (torch.rand(1, 1, 32, 32).double() for _ in range(3))
    first[:, :, 6:], second[:, :, :-6] = none[:, :, 6:], none[:, :, :-6]
    both = first.clone()
    both[:, :, -6:] = second[:, :, -6:]
    gap = critic(both) - critic(first) - critic(second) + critic(none)
    assert bool(gap.abs().max() < 1e-9) is alone


def test_images_are_judged_alone():
    critic, image = Critic((1, 8, 8), width=4), torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(critic(image)[2:3], critic(image[2:3]))


def test_a_shrunk_critic_sees_every_pixel_as_a_channel_of_its_block():
    torch.manual_seed(0)
    critic, image = Critic((1, 16, 12), width=4, levels=2, shrink=2), torch.rand(3, 1, 16, 12, requires_grad=True)
    whole = Critic((4, 8, 6), width=4, levels=2)
    whole.load_state_dict(critic.state_dict())
    blocks = torch.cat([image[:, :, i::2, j::2] for i in range(2) for j in range(2)], 1)
    torch.testing.assert_close(critic(image), whole(blocks))
    critic(image).sum().backward()
    assert (image.grad != 0).all()


def test_the_pooled_critic_has_as_many_numbers_as_va_gans():
    assert sum(parameter.numel() for parameter in PooledCritic(1).parameters()) == 1_757_249 - 1


def test_the_layers_of_the_pooled_critic():
    seen = []
    critic = PooledCritic(1)
    for layer in critic.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda m, i, o: seen.append((m.kernel_size[0], m.out_channels, o.shape[-1])))
    critic(torch.rand(1, 1, 112, 112))
    assert seen == [
        (3, 16, 112), (3, 32, 56), (3, 64, 28), (3, 64, 28), (3, 128, 14), (3, 128, 14),
        (3, 256, 7), (3, 256, 7), (3, 256, 7), (1, 1, 7),
    ]  # fmt: skip


@pytest.mark.parametrize("shape, levels", [((1, 28, 28), 4), ((3, 16, 24), 2)])
def test_the_pooled_critic_gives_one_logit_an_image_and_a_gradient_for_every_layer(shape, levels):
    torch.manual_seed(0)
    critic = PooledCritic(shape[0], width=8, levels=levels)
    image = torch.rand(3, *shape, requires_grad=True)
    logit = critic(image)
    assert logit.shape == (3,)
    torch.testing.assert_close(logit[2:3], critic(image[2:3]))
    logit.square().sum().backward()
    for name, parameter in critic.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert image.grad.abs().flatten(1).sum(1).min() > 0
