"""The U-Net: size, shape, range, and a gradient for every layer."""

import pytest
import torch

from obverse.networks.translators import UNet


def count(network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_it_has_as_many_numbers_as_the_published_digits_model():
    # 205,557 published, of which 1,058 are moving means and variances that never moved
    assert count(UNet(1)) == 205_557 - 1_058 == 204_499
    live = UNet(1, norm="batch")
    statistics = sum(b.numel() for name, b in live.named_buffers() if "num_batches" not in name)
    assert count(live) == 204_499 and statistics == 1_058


def test_the_layers_are_those_of_the_table():
    seen = []
    network = UNet(1)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda m, i, o: seen.append((m.in_channels, m.out_channels, o.shape[-1])))
    network(torch.rand(1, 1, 28, 28))
    assert seen == [
        (1, 16, 28), (16, 16, 28),  # E0
        (16, 32, 28), (32, 32, 14), (32, 32, 14), (32, 32, 14),  # E1: pool, then the residual block
        (32, 64, 14), (64, 64, 7), (64, 64, 7), (64, 64, 7),  # E2
        (64, 32, 7), (32, 32, 7),  # U1
        (64, 16, 14), (16, 16, 14),  # U0
        (32, 1, 28),  # out
    ]  # fmt: skip


@pytest.mark.parametrize("settings", [
    {}, {"residual": True}, {"norm": "batch"}, {"refine": True}, {"depth": 3, "width": 4},
])  # fmt: skip
@pytest.mark.parametrize("channels, height, width", [(1, 16, 24), (3, 8, 8)])
def test_shape_range_and_a_gradient_for_every_layer(settings, channels, height, width):
    torch.manual_seed(0)
    network = UNet(channels, **settings).train()
    if settings.get("residual"):  # starts as the identity, from which only the last layer hears
        torch.nn.init.normal_(network.out.weight, std=0.1)
    image = torch.rand(2, channels, height, width)
    out = network(image)
    assert out.shape == image.shape and out.dtype == torch.float32
    assert out.min() >= 0 and out.max() <= 1 and out.std() > 0
    (out - image).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_affine_norm_treats_every_image_alone():
    network = UNet(1, width=4).train()
    image = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(network(image)[:1], network(image[:1]))


def test_a_network_that_predicts_the_change_starts_as_the_identity():
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(UNet(3, width=4, residual=True)(image), image)
    assert (UNet(3, width=4)(image) - image).abs().max() > 0.05


def test_sides_that_cannot_be_halved():
    with pytest.raises(ValueError, match=r"multiples of 8, got \(28, 28\); resize, or choose a smaller depth"):
        UNet(1, depth=3)(torch.rand(1, 1, 28, 28))


    with pytest.raises(ValueError, match=r"multiples of 8, got \(12, 16\); resize, or choose a smaller depth or shrink"):
        UNet(1, depth=2, shrink=2)(torch.rand(1, 1, 12, 16))


@pytest.mark.parametrize("noise", [0, 3])
def test_shrunk_it_works_on_blocks_of_pixels_as_channels(noise):
    torch.manual_seed(0)
    network, image = UNet(3, width=4, depth=1, refine=True, noise=noise, shrink=2), torch.rand(2, 3, 8, 12)
    assert network.stem[0][-1].in_channels == 12 + noise and network.out.out_channels == 12
    found = network.raw(image)
    whole = UNet(12, width=4, depth=1, refine=True, noise=noise)
    whole.load_state_dict(network.state_dict())
    blocks = torch.stack([image[:, c, i::2, j::2] for c in range(3) for i in range(2) for j in range(2)], 1)
    expected = whole.raw(blocks)
    for c in range(3):
        for i in range(2):
            for j in range(2):
                torch.testing.assert_close(found[:, c, i::2, j::2], expected[:, 4 * c + 2 * i + j])
    assert network(image).shape == image.shape and network(image[:0]).shape == (0, 3, 8, 12)


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_with_a_slope_no_feature_dies(slope):
    network, image = UNet(1, width=4, depth=1, norm="none", refine=True, slope=slope), torch.rand(2, 1, 8, 8)
    last = network.refine[0][-1]
    torch.nn.init.constant_(last.bias, -50.0)  # far below 0 in every pixel
    network.raw(image).sum().backward()
    assert (float(last.weight.grad.abs().sum()) > 0) == (slope > 0)


def test_noise_is_seen_as_constant_channels():
    torch.manual_seed(0)
    network, image = UNet(1, width=4, residual=True, noise=2), torch.rand(3, 1, 8, 8)
    torch.nn.init.normal_(network.out.weight, std=0.1)
    plain = UNet(3, width=4)  # the same layers on channels put there by hand
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("out.")}, strict=False)
    noise = torch.rand(3, 2)
    channels = noise[:, :, None, None].expand(-1, -1, 8, 8)
    by_hand = network.out(features(plain, torch.cat([image, channels], 1)))
    torch.testing.assert_close(network.raw(image, noise), by_hand)
    torch.testing.assert_close(network(image, noise), (image + by_hand).clamp(0, 1))
    assert not torch.allclose(network.raw(image, noise), network.raw(image, noise.flip(0)))
    torch.testing.assert_close(network.raw(image), network.raw(image, torch.full((3, 2), 0.5)))


def test_noise_can_be_laid_over_the_image_as_a_grid():
    torch.manual_seed(0)
    network, image = UNet(1, width=4, noise=4, grid=True), torch.rand(3, 1, 8, 8)
    plain = UNet(3, width=4)
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("out.")}, strict=False)
    noise = torch.rand(3, 4)
    laid = noise.view(3, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    everywhere = noise[:, :1, None, None].expand(3, 1, 8, 8)  # the first of them
    by_hand = network.out(features(plain, torch.cat([image, everywhere, laid], 1)))
    torch.testing.assert_close(network.raw(image, noise), by_hand)
    torch.testing.assert_close(network.raw(image), network.raw(image, torch.full((3, 4), 0.5)))


def test_a_grid_of_noise_is_square():
    with pytest.raises(ValueError, match="expected a square number for a grid, got 5"):
        UNet(1, noise=5, grid=True)


def features(network, image):
    """What enters the last layer."""
    caught = []
    handle = network.out.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    network.raw(image)
    handle.remove()
    return caught[0]


@pytest.mark.parametrize("residual", [False, True])
def test_raw_is_what_is_added_or_clipped(residual):
    torch.manual_seed(0)
    network, image = UNet(1, width=4, residual=residual), torch.rand(2, 1, 8, 8)
    torch.nn.init.normal_(network.out.weight)
    raw = network.raw(image)
    assert raw.min() < 0 or raw.max() > 1
    torch.testing.assert_close(network(image), ((image if residual else 0) + raw).clamp(0, 1))
