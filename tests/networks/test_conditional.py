"""The conditional norm and the generator: bins, what lies between them, statistics, and sizes."""

import itertools

import pytest
import torch
from torch import nn

from obverse.networks.conditional import ConditionalGenerator, ConditionalNorm, halvings, interpolated, widths


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_positions_between_two_bins_mix_their_rows_and_go_straight_on_outside():
    table = torch.tensor([[0.0, 10.0], [1.0, 20.0], [4.0, 0.0]])
    position = torch.tensor([0.0, 1.0, 2.0, 0.5, 1.25, -3.0, 7.0])
    expected = [[0, 10], [1, 20], [4, 0], [0.5, 15], [1.75, 15], [-3, -20], [19, -100]]  # outside, straight on
    torch.testing.assert_close(interpolated(table, position), torch.tensor(expected))
    torch.testing.assert_close(interpolated(table, torch.tensor([2, 0])), table[[2, 0]])


def test_a_whole_position_trains_its_own_row_only():
    table = torch.zeros(4, 2, requires_grad=True)
    interpolated(table, torch.tensor([2])).sum().backward()
    assert table.grad.tolist() == [[0, 0], [0, 0], [1, 1], [0, 0]]


def test_the_norm_equals_batch_norm_with_the_gain_and_offset_of_the_bin():
    norm = ConditionalNorm(3, 4)
    with torch.no_grad():
        norm.gain.copy_(noise(4, 3))
        norm.offset.copy_(noise(4, 3, seed=1))
    x, which = noise(5, 3, 6, 6, seed=2), torch.tensor([0, 3, 1, 1, 2])
    out = norm(x, which)
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    for row, k in enumerate(which.tolist()):
        plain = (x[row : row + 1] - mean) / (variance + 1e-3).sqrt()
        expected = plain * norm.gain[k].view(1, -1, 1, 1) + norm.offset[k].view(1, -1, 1, 1)
        torch.testing.assert_close(out[row : row + 1], expected, rtol=1e-4, atol=1e-5)


def test_running_statistics_move_by_a_tenth_and_serve_in_evaluation():
    norm = ConditionalNorm(2, 3)
    x = 5 + 2 * noise(8, 2, 4, 4)
    norm(x, torch.zeros(8))
    torch.testing.assert_close(norm.norm.running_mean, 0.1 * x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.norm.running_var, 0.9 + 0.1 * x.var((0, 2, 3)))
    norm.eval()
    mean, variance = (value.view(1, -1, 1, 1) for value in (norm.norm.running_mean, norm.norm.running_var))
    torch.testing.assert_close(norm(x, torch.zeros(8)), (x - mean) / (variance + 1e-3).sqrt())


def test_an_image_does_not_depend_on_its_batch_in_evaluation():
    network = ConditionalGenerator((1, 16, 16), bins=4, width=4, depth=2).train()
    image, position = noise(6, 1, 16, 16), torch.tensor([0.0, 1.0, 2.0, 3.0, 0.5, 2.2])
    network(image, position)
    network.eval()
    together = network(image, position)
    alone = torch.cat([network(image[k : k + 1], position[k : k + 1]) for k in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_the_embedding_knows_no_bin_and_every_bin_makes_another_image():
    network = ConditionalGenerator((1, 16, 16), bins=3, width=4, depth=2)
    for name, parameter in network.named_parameters():
        if name.endswith(("gain", "offset")):
            nn.init.uniform_(parameter, 0.5, 1.5)
    network.eval()
    image = noise(1, 1, 16, 16)
    latent = network.encode(image)
    assert not [name for name, _ in network.down.named_parameters() if name.endswith(("gain", "offset"))]
    made = [network.decode(latent, torch.tensor([k])) for k in (0.0, 1.0, 2.0, 0.5)]
    torch.testing.assert_close(made[1], network(image, torch.tensor([1.0])))
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.combinations(made, 2))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 30, 21), (3, 64, 48)])
def test_sizes_and_channels(shape):
    depth = halvings(shape)
    network = ConditionalGenerator(shape, bins=2, width=2, depth=depth).eval()
    image = noise(2, *shape)
    out = network(image, torch.tensor([0, 1]))
    assert out.shape == image.shape and out.dtype == torch.float32 and out.min() >= 0 and out.max() <= 1
    latent = network.encode(image)
    assert latent.shape[1] == widths(2, depth)[-1] and 3 <= min(latent.shape[2:]) <= 6


def test_depth_and_width_are_the_released_ones_at_128_pixels():
    assert [halvings((1, side, side)) for side in (8, 16, 28, 64, 128, 256)] == [1, 2, 3, 4, 5, 6]
    assert widths(64, 5) == [64, 128, 256, 512, 1024, 1024]


def numbers(channels: int, bins: int, width: int, depth: int, *, encoder_rows: int) -> int:
    """How many numbers such a generator has, layer by layer; the encoder's norms have `encoder_rows` rows."""
    outers = [width * min(2**level, 16) for level in range(depth + 1)]
    total = 9 * channels * width + width + 2 * width + 9 * width * channels + channels  # stem, last norm, head
    for a, b in itertools.pairwise(outers):
        for inner, outer, rows in ((a, b, encoder_rows), (b, a, bins)):
            total += 2 * rows * (inner + outer)
            total += 9 * inner * outer + outer + 9 * outer * outer + outer + inner * outer + outer
    return total


def test_it_has_as_many_numbers_as_the_released_generator():
    # that has a conditional encoder, and a norm of the 3 channels before the stem
    assert numbers(3, 10, 64, 5, encoder_rows=10) + 2 * 3 == 69_655_049
    for settings in ((1, 4, 3, 2), (3, 10, 2, 5), (1, 2, 1, 6)):
        channels, bins, width, depth = settings
        network = ConditionalGenerator((channels, 16, 16), bins=bins, width=width, depth=depth)
        assert sum(p.numel() for p in network.parameters()) == numbers(*settings, encoder_rows=1)
