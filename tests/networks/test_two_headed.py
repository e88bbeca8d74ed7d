"""The translator with two outputs: size, what it shares, and a gradient for every layer."""

import pytest
import torch

from obverse.networks.translators import UNet
from obverse.networks.two_headed import TwoHeaded


def test_it_has_as_many_numbers_as_the_published_sagen():
    # 233,302 published, of which 1,058 are moving means and variances that never moved
    assert sum(parameter.numel() for parameter in TwoHeaded(1).parameters()) == 233_302 - 1_058


@pytest.mark.parametrize("settings", [{}, {"residual": True}, {"norm": "batch"}, {"refine": True}, {"noise": 2}])
@pytest.mark.parametrize("channels", [1, 3])
def test_two_images_in_range_and_a_gradient_for_every_layer(settings, channels):
    torch.manual_seed(0)
    network, image = TwoHeaded(channels, width=8, **settings), torch.rand(3, channels, 12, 16)
    made = network(image)
    assert len(made) == 2
    for one in made:
        assert one.shape == image.shape and one.dtype == torch.float32 and one.min() >= 0 and one.max() <= 1
    sum((one - 0.5).square().sum() for one in made).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_each_output_is_a_head_on_the_same_features():
    network, image = TwoHeaded(1, width=4), torch.rand(2, 1, 8, 8)
    seen = []
    network.out.register_forward_hook(lambda m, i, o: seen.append(o))
    stable, other = network(image)
    for made, head in zip((stable, other), network.heads, strict=True):
        torch.testing.assert_close(made, head(seen[0]).clamp(0, 1))
    assert (stable - other).abs().max() > 0


def test_a_head_is_one_linear_filter_of_5_by_5_pixels():
    head = TwoHeaded(1, width=4).heads[0]
    base, spot = torch.zeros(1, 8, 11, 11), torch.zeros(1, 8, 11, 11)
    spot[0, 3, 5, 5] = 1
    response = (head(spot) - head(base))[0, 0]
    reached = (response != 0).nonzero()
    assert reached.min().item() == 3 and reached.max().item() == 7
    torch.testing.assert_close(head(2 * spot) - head(base), 2 * response[None, None])


def test_predicting_the_change_starts_close_to_the_image():
    image = torch.rand(2, 1, 8, 8)
    for made in TwoHeaded(1, residual=True)(image):
        assert 0 < (made - image).abs().max() < 0.05


def test_it_is_the_translator_up_to_its_last_layer():
    torch.manual_seed(1)
    plain = UNet(1, width=4)
    torch.manual_seed(1)
    double = TwoHeaded(1, width=4)
    for name, value in plain.state_dict().items():
        assert name.startswith("out.") or torch.equal(value, double.state_dict()[name]), name
