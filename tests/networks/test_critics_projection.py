"""The projection critic: eqs 3 and 4, the code of a bin, spectral norm, and sizes."""

import pytest
import torch
from torch import nn

from obverse.networks.critics_projection import ProjectionCritic, thermometer


def make(shape=(1, 16, 16), bins=5, **settings) -> ProjectionCritic:
    torch.manual_seed(0)
    return ProjectionCritic(shape, bins=bins, **{"width": 4, "depth": 2, **settings})


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def phi_of(critic, image):
    x = image
    for block in critic.blocks:
        x = block(x)
    return x.relu().sum((2, 3))


def test_bin_k_sets_the_first_k_entries():
    expected = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert thermometer(torch.arange(5), 5).tolist() == expected


@pytest.fixture(autouse=True)
def random_state():
    with torch.random.fork_rng():
        yield


def test_the_logit_is_realism_plus_the_sum_of_the_vectors_below_the_bin():
    critic = make().eval()
    image, which = noise(5, 1, 16, 16), torch.tensor([0, 1, 2, 3, 4])
    phi, logit = phi_of(critic, image), critic(image, thermometer(which, 5))
    vectors = critic.ordinal.weight  # v_i, after its spectral norm
    for row, k in enumerate(which.tolist()):
        psi = critic.realism(phi[row : row + 1])[0, 0]
        r = sum(torch.dot(vectors[i], phi[row]) for i in range(k))  # eq. 4
        torch.testing.assert_close(logit[row], psi + r, rtol=1e-4, atol=1e-5)  # eq. 3


def test_without_a_code_only_realism_counts():
    critic = make().eval()
    image = noise(3, 1, 16, 16)
    plain = critic.realism(phi_of(critic, image)).squeeze(1)
    torch.testing.assert_close(critic(image, torch.zeros(3, 4)), plain, rtol=1e-4, atol=1e-5)


def test_a_middle_bin_can_win():
    # with one vector for all thresholds the logit is affine in k, and only an end can be the best bin
    critic = make().eval()
    image = noise(1, 1, 16, 16)
    phi = phi_of(critic, image)[0].detach()
    with torch.no_grad():  # two vectors along phi, then two against it
        critic.ordinal.parametrizations.weight.original.copy_(torch.stack([phi, phi, -phi, -phi]))
        for _ in range(20):  # the power iteration of the spectral norm
            critic.train()(image, torch.zeros(1, 4))
        critic.eval()
        logits = torch.cat([critic(image, thermometer(torch.tensor([k]), 5)) for k in range(5)])
    assert logits.argmax().item() == 2
    steps = logits.diff()
    assert steps[0] > 0.1 and steps[-1] < -0.1  # unequal steps


def test_every_layer_has_a_spectral_norm_of_one():
    critic = make(width=6).train()
    with torch.no_grad():
        for _ in range(100):
            critic(noise(2, 1, 16, 16), torch.zeros(2, 4))
    critic.eval()
    layers = [layer for layer in critic.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 3 * 3 - 1 + 2  # two convolutions and a shortcut a block, but for the last; psi and the v_i
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 21, 30)])
def test_sizes_and_channels(shape):
    assert make(shape, depth=3)(noise(2, *shape), torch.zeros(2, 4)).shape == (2,)


def numbers(channels: int, bins: int, width: int, depth: int) -> int:
    """How many numbers such a critic has, layer by layer."""
    outers = [width * min(2**level, 16) for level in range(depth)]
    total, inner = 0, channels
    for outer in outers:
        total += 9 * inner * outer + outer + 9 * outer * outer + outer + inner * outer + outer
        inner = outer
    return total + 2 * (9 * inner * inner + inner) + inner + 1 + inner * (bins - 1)


def test_it_has_as_many_numbers_as_the_released_critic():
    # that has two vectors for all thresholds instead of nine
    assert numbers(3, 10, 64, 5) == 38_421_185 + 7 * 1024
    for settings in ((1, 5, 4, 2), (3, 10, 2, 5), (1, 10, 1, 6)):
        channels, bins, width, depth = settings
        critic = make((channels, 16, 16), bins, width=width, depth=depth)
        assert sum(p.numel() for p in critic.parameters()) == numbers(*settings)
