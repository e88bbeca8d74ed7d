"""The translator and the critic of all classes: conditions by hand, shapes, and a gradient for every layer."""

import pytest
import torch

from obverse.networks.conditional_translators import ClassAffine, ConditionalCritic, ConditionalUNet
from obverse.networks.critics import Critic
from obverse.networks.translators import UNet

WAYS = (torch.tensor([0, 1, 2, 0]), torch.tensor([1, 0, 1, 2]))


def test_gain_and_offset_by_hand():
    affine = ClassAffine(2, 3)
    with torch.no_grad():
        affine.source.weight.copy_(torch.arange(12.0).view(3, 4) / 10)
        affine.target.weight.copy_(torch.arange(12.0).view(3, 4) / 100)
    x = torch.ones(1, 2, 1, 1)
    # from 1 to 2: gains 0.4 + 0.08 and 0.5 + 0.09, offsets 0.6 + 0.10 and 0.7 + 0.11
    out = affine(x, torch.tensor([1]), torch.tensor([2])).flatten().tolist()
    assert out == pytest.approx([1 + 0.48 + 0.70, 1 + 0.59 + 0.81])


@pytest.mark.parametrize("settings", [{}, {"refine": False}, {"residual": True}, {"depth": 3, "width": 4}])
def test_shape_range_and_a_gradient_for_every_layer(settings):
    torch.manual_seed(0)
    network, image = ConditionalUNet(2, 3, **{"width": 8, **settings}), torch.rand(4, 2, 16, 8)
    made = network(image, *WAYS)
    assert made.shape == image.shape and made.dtype == torch.float32 and made.min() >= 0 and made.max() <= 1
    (made - 0.5).square().sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_with_neutral_conditions_it_is_the_translator():
    torch.manual_seed(0)
    network, plain = ConditionalUNet(1, 3, width=4, refine=True), UNet(1, width=4, refine=True, norm="affine")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, ClassAffine):
                module.source.weight.zero_()
                module.target.weight.zero_()
    own = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    theirs = [layer for layer in plain.modules() if isinstance(layer, torch.nn.Conv2d)]
    for mine, other in zip(own, theirs, strict=True):
        other.load_state_dict(mine.state_dict())
    image = torch.rand(4, 1, 12, 8)
    torch.testing.assert_close(network(image, *WAYS), plain(image))


def test_both_the_source_and_the_target_matter_and_rows_are_alone():
    network, image = ConditionalUNet(1, 3, width=4), torch.rand(1, 1, 8, 8).expand(4, -1, -1, -1)
    made = network(image, *WAYS)
    assert min((made[a] - made[b]).abs().max() for a in range(4) for b in range(a)) > 0
    alone = network(image[2:3], *(way[2:3] for way in WAYS))
    torch.testing.assert_close(made[2:3], alone)


def test_predicting_the_change_starts_close_to_the_image():
    image = torch.rand(4, 1, 8, 8)
    assert 0 < (ConditionalUNet(1, 3, residual=True)(image, *WAYS) - image).abs().max() < 0.05


def test_sides_that_cannot_be_halved():
    with pytest.raises(ValueError, match=r"image: expected sides that are multiples of 4, got \(10, 8\); resize"):
        ConditionalUNet(1, 3)(torch.rand(4, 1, 10, 8), *WAYS)


def test_the_critic_is_a_plain_one_plus_a_projection_on_the_class():
    torch.manual_seed(0)
    critic, plain = ConditionalCritic((1, 8, 8), 3, width=4, levels=2), Critic((1, 8, 8), width=4, levels=2)
    plain.load_state_dict({key: value for key, value in critic.state_dict().items() if key != "of_class.weight"})
    image, seen = torch.rand(4, 1, 8, 8), []
    plain.out.register_forward_pre_hook(lambda m, i: seen.append(i[0]))
    with torch.no_grad():
        shared, logits = plain(image), critic(image, WAYS[0])
        for row, which in enumerate(WAYS[0].tolist()):
            expected = float(shared[row]) + float(torch.dot(critic.of_class.weight[which], seen[0][row]))
            assert logits[row].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_every_layer_of_the_critic_gets_a_gradient():
    critic = ConditionalCritic((2, 8, 12), 3, width=4, levels=2)
    critic(torch.rand(4, 2, 8, 12), WAYS[0]).square().sum().backward()
    assert not [name for name, p in critic.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
