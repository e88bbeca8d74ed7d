"""The clip, the affine norm and the initialisation."""

import pytest
import torch
from torch import nn

from obverse.networks.blocks import (
    LEAST_SLOPE,
    Affine,
    clip,
    from_blocks,
    glorot,
    group_norm,
    in_parts,
    squash,
    to_blocks,
)


def test_groups_divide_the_channels():
    assert [group_norm(channels).num_groups for channels in (8, 16, 20, 24, 60, 128)] == [1, 2, 2, 3, 6, 16]
    assert group_norm(60)(torch.rand(2, 60, 3, 3)).shape == (2, 60, 3, 3)


def test_clip_is_a_clamp_in_float32():
    image = torch.tensor([-2.0, -0.0, 0.3, 1.0, 1.5])
    assert torch.equal(clip(image), image.clamp(0, 1))
    low = clip(torch.tensor([0.3, 2.0], dtype=torch.bfloat16))
    assert low.dtype == torch.float32 and low[1] == 1


def test_the_gradient_of_clip_is_that_of_a_projection():
    # descent moves against the gradient: below 0 only a negative one brings the pixel back, above 1 a positive one
    cases = {  # (pixel, gradient arriving): gradient passed on
        (-0.5, -1.0): -1.0, (-0.5, 1.0): 0.0, (1.5, 1.0): 1.0, (1.5, -1.0): 0.0,
        (0.5, 1.0): 1.0, (0.5, -1.0): -1.0, (0.0, 1.0): 1.0, (1.0, -1.0): -1.0,
    }  # fmt: skip
    image = torch.tensor([pixel for pixel, _ in cases], requires_grad=True)
    clip(image).backward(torch.tensor([gradient for _, gradient in cases]))
    assert image.grad.tolist() == list(cases.values())


def test_a_pixel_outside_the_range_comes_back():
    for start, goal in ((-0.4, 0.8), (1.7, 0.1)):
        pixel = torch.tensor([start], requires_grad=True)
        optimizer = torch.optim.SGD([pixel], 0.2)
        for _ in range(60):
            optimizer.zero_grad()
            (clip(pixel) - goal).square().sum().backward()
            optimizer.step()
        torch.testing.assert_close(clip(pixel.detach()), torch.tensor([goal]), atol=1e-3, rtol=0)


def test_the_tangent_keeps_a_slope_for_what_leads_back_and_only_that():
    x = torch.tensor([-9.0, -9.0, -0.5, -0.5, 0.7, 0.7, 9.0, 9.0], requires_grad=True)
    ways = torch.tensor([-1.0, 1.0] * 4)  # a step goes against the gradient: up, down
    y = squash(x)
    assert torch.equal(y, x.tanh()) and squash(x.detach().bfloat16()).dtype == torch.float32
    y.backward(ways)
    plain = 1 - x.detach().tanh() ** 2
    lifted = torch.tensor([True, False, False, False, False, False, False, True])
    torch.testing.assert_close(x.grad, ways * torch.where(lifted, torch.full((8,), LEAST_SLOPE), plain))


def test_what_is_black_in_half_of_the_images_is_learned():
    bright = torch.tensor([0.0, 1.0] * 8)
    found = {}
    for end in (torch.tanh, squash):
        weight = torch.tensor([-9.0, 0.0], requires_grad=True)  # black everywhere, as a long training of black images leaves it
        optimizer = torch.optim.SGD([weight], lr=1.0)
        for _ in range(400):
            optimizer.zero_grad()
            loss = ((1 + end(weight[0] + weight[1] * (2 * bright - 1))) / 2 - bright).abs().mean()
            loss.backward()
            optimizer.step()
        found[end] = float(loss.detach())
    assert found[squash] < 0.05 < 0.4 < found[torch.tanh]


def test_clip_passes_the_gradient_of_bf16_networks():
    image = torch.tensor([0.5, 1.5], dtype=torch.bfloat16, requires_grad=True)
    (-clip(image).sum()).backward()
    assert image.grad.dtype == torch.bfloat16 and image.grad.tolist() == [-1.0, 0.0]


def test_affine_is_batch_norm_whose_statistics_never_moved():
    norm, affine = nn.BatchNorm2d(3, eps=0).eval(), Affine(3)
    with torch.no_grad():
        for own, other in ((affine.gain, norm.weight), (affine.offset, norm.bias)):
            own.copy_(torch.randn(3, 1, 1))
            other.copy_(own.flatten())
    image = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(affine(image), norm(image))


def test_glorot_bounds_and_zero_biases():
    plain = nn.Conv2d(3, 3, 1, bias=False)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(40, 8), nn.ConvTranspose2d(8, 3, 2), plain)
    glorot(network)
    fans = [(27, 72), (40, 8), (12, 32), (3, 3)]
    for layer, (fan_in, fan_out) in zip(network, fans, strict=True):
        bound = (6 / (fan_in + fan_out)) ** 0.5
        assert layer.weight.abs().max() <= bound and layer.weight.abs().max() > 0.7 * bound
        assert layer.bias is None or not layer.bias.any()


def test_in_parts_equals_the_whole_and_keeps_the_order():
    image, sizes = torch.rand(10, 1, 4, 4), []

    def double(part):
        sizes.append(len(part))
        return part.flatten(1) * 2

    assert torch.equal(in_parts(double, image, 4), image.flatten(1) * 2)
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize("count", [0, 2])
def test_blocks_of_pixels_as_channels_and_back(count):
    image = torch.rand(count, 3, 4, 6)
    blocks = to_blocks(image, 2)
    assert blocks.shape == (count, 12, 2, 3) and torch.equal(from_blocks(blocks, 2), image)
    if count:
        assert torch.equal(blocks[:, 4:8], torch.stack([image[:, 1, i::2, j::2] for i in range(2) for j in range(2)], 1))
