"""Every shared term equals a slow restatement, and one case worked by hand."""

import math

import pytest
import torch
from torch import nn

from obverse.losses import (
    class_loss,
    divergence_each,
    energy_distance,
    fake_loss,
    gradient_penalty,
    l1_each,
    l1_l2,
    log_odds,
    margin_loss,
    mask_entropy,
    mask_smoothness,
    own_odds,
    real_loss,
    real_penalty,
    shared_change,
    soft_l1,
    squared_fake,
    squared_real,
    weight_distance,
)

RANDOM = torch.Generator().manual_seed(0)
ONE, TWO = torch.rand(3, 1, 2, 2, generator=RANDOM), torch.rand(3, 1, 2, 2, generator=RANDOM)


def test_l1_l2():
    # differences 0.5 and -1: squares 0.25 + 1, absolutes 0.5 + 1, each halved
    assert l1_l2(torch.tensor([0.5, 0.0]), torch.tensor([0.0, 1.0])).item() == pytest.approx(0.625 + 0.75)
    pairs = list(zip(ONE.flatten().tolist(), TWO.flatten().tolist(), strict=True))
    slow = sum((a - b) ** 2 for a, b in pairs) / 12 + sum(abs(a - b) for a, b in pairs) / 12
    assert l1_l2(ONE, TWO).item() == pytest.approx(slow, rel=1e-6)


def test_soft_l1():
    # 3, 4, 5: sqrt(4^2 + 3^2) - 3 = 2, and no difference costs nothing
    assert soft_l1(torch.tensor([4.0, 0.0]), torch.zeros(2), 3.0).item() == pytest.approx(1.0)
    assert soft_l1(ONE, TWO, 0.0).item() == pytest.approx((ONE - TWO).abs().mean().item())
    at = torch.tensor([0.0, 1e-3, 0.2], requires_grad=True)
    (slope,) = torch.autograd.grad(3 * soft_l1(at, torch.zeros(3), 0.02), at)
    torch.testing.assert_close(slope, torch.tensor([0.0, 1e-3 / 0.02, 1.0]), rtol=0.01, atol=0)


def test_class_loss_of_two_classes_is_the_papers_binary_cross_entropy():
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    target = torch.tensor([1, 1])
    # f = sigmoid(logit_1 - logit_0): sigmoid(2) and sigmoid(-2); -log f of each
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    assert class_loss(logits, target).item() == pytest.approx(by_hand)
    probability = torch.sigmoid(logits[:, 1] - logits[:, 0])
    for y in (target, 1 - target):
        slow = -(y * probability.log() + (1 - y) * (1 - probability).log()).mean()
        assert class_loss(logits, y).item() == pytest.approx(slow.item())


def test_margin_loss():
    logits, target = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0], [9.0, 0.0, 1.0]]), torch.tensor([0, 1, 0])
    odds = []
    for row, k in zip(logits.tolist(), target.tolist(), strict=True):
        odds.append(row[k] - math.log(sum(math.exp(value) for j, value in enumerate(row) if j != k)))
    slow = sum(max(0.0, 4.0 - value) for value in odds) / 3
    assert odds[2] > 4 and margin_loss(logits, target, 4.0).item() == pytest.approx(slow, rel=1e-6)
    two = torch.tensor([[1.0, -1.5]], requires_grad=True)  # log-odds of the second: -2.5
    loss = margin_loss(two, torch.tensor([1]), 3.0)
    (gradient,) = torch.autograd.grad(loss, two)
    assert loss.item() == pytest.approx(5.5) and gradient.tolist() == [[1.0, -1.0]]
    assert margin_loss(logits.bfloat16(), target, 4.0).dtype == torch.float32
    each = torch.tensor([1.0, 2.0, 9.0])
    slow = sum(max(0.0, own - value) for own, value in zip(each.tolist(), odds, strict=True)) / 3
    assert margin_loss(logits, target, each).item() == pytest.approx(slow, rel=1e-6)
    assert margin_loss(logits, target, 0.0) == class_loss(logits, target)


def test_log_odds_by_hand_and_where_the_posterior_is_next_to_0():
    logits = torch.tensor([[1.0, 4.0, 2.0], [0.0, 0.0, 0.0]])
    p = math.exp(4) / (math.exp(1) + math.exp(4) + math.exp(2))
    assert log_odds(logits, torch.tensor([1, 2])).tolist() == pytest.approx([math.log(p / (1 - p)), -math.log(2)])
    assert log_odds(torch.tensor([[0.0, 90.0]]), torch.tensor([0])).item() == pytest.approx(-90)


def test_own_odds_are_the_medians_of_each_class():
    odds = [2.0, 0.25, 5.0, 7.0, -3.0]
    target = torch.tensor([0, 1, 0, 0, 1])
    logits = torch.tensor([[value, 0.0] if k == 0 else [0.0, value] for value, k in zip(odds, target.tolist(), strict=True)])
    assert own_odds(logits, target).tolist() == [5.0, 1.0, 5.0, 5.0, 1.0]  # the second class's is below 1


def test_class_loss_keeps_its_gradient_where_a_clipped_probability_loses_it():
    logits = torch.tensor([[0.0, 40.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(class_loss(logits, torch.tensor([0])), logits)
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 1.0]]))
    assert class_loss(logits.detach().bfloat16(), torch.tensor([0])).dtype == torch.float32


def test_critic_losses_are_binary_cross_entropies_of_the_sigmoid():
    logit = torch.tensor([-3.0, 0.0, 2.0])
    assert real_loss(logit).item() == pytest.approx(-logit.sigmoid().log().mean().item())
    assert fake_loss(logit).item() == pytest.approx(-(1 - logit.sigmoid()).log().mean().item())
    assert real_loss(torch.zeros(1)).item() == pytest.approx(math.log(2))
    assert real_loss(torch.tensor([200.0])).item() == 0 and fake_loss(torch.tensor([200.0])).item() == 200
    assert real_loss(logit.bfloat16()).dtype == fake_loss(logit.bfloat16()).dtype == torch.float32


def test_gradient_penalty_of_a_linear_critic_is_known():
    # the gradient of w . x is w everywhere: |(3, 4)| = 5, and (5 - 1)^2 = 16
    weight = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
    critic = lambda image: (image * weight).flatten(1).sum(1)  # noqa: E731
    found = gradient_penalty(critic, torch.zeros(2, 1, 1, 2), torch.ones(2, 1, 1, 2), torch.rand(2, 1, 1, 1))
    assert found.item() == pytest.approx(16)


def test_gradient_penalty_looks_at_the_share_from_real_to_fake():
    # critic a |x|^2 has gradient 2 a x, so the penalty tells where it was taken
    share = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1)
    scale = torch.tensor(0.7, requires_grad=True)
    found = gradient_penalty(lambda image: scale * image.square().flatten(1).sum(1), ONE, TWO, share)
    slow = 0.0
    for row in range(3):
        between = ONE[row] + share[row] * (TWO[row] - ONE[row])
        norm = math.sqrt(sum((2 * 0.7 * pixel) ** 2 for pixel in between.flatten().tolist()))
        slow += (norm - 1) ** 2 / 3
    assert found.item() == pytest.approx(slow, rel=1e-5)
    (reaches,) = torch.autograd.grad(found, scale)  # it trains the critic
    assert reaches.item() != 0


def test_gradient_penalty_leaves_the_images_alone():
    fake = TWO.clone().requires_grad_(True)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0))
    penalty = gradient_penalty(critic, ONE, fake, torch.full((3, 1, 1, 1), 0.5))
    penalty.backward()
    assert fake.grad is None
    assert critic[1].weight.grad.abs().sum() > 0


def test_l1_of_each_image_by_hand():
    image, made = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    made[1, 0, 0] = torch.tensor([0.4, -0.8])
    torch.testing.assert_close(l1_each(image, made), torch.tensor([0.0, 0.3]))


def test_divergence_of_each_posterior():
    posterior, logits = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    # 1/4 log (1/4 / 1/2) + 3/4 log (3/4 / 1/2); -log (1 / (1 + e^2)), as 0 log 0 is 0; the same distribution
    by_hand = [0.25 * math.log(0.5) + 0.75 * math.log(1.5), math.log(1 + math.exp(2)), 0.0]
    torch.testing.assert_close(divergence_each(posterior, logits), torch.tensor(by_hand))


@pytest.mark.parametrize("power", [1, 2])
def test_energy_distance_of_two_sets_of_images_pair_by_pair(power):
    one, other = torch.rand(4, 1, 2, 3), torch.rand(3, 1, 2, 3) + 0.5

    def apart(x, y):
        changes = [abs(a - b) ** power for a, b in zip(x.flatten().tolist(), y.flatten().tolist())]
        return (sum(changes) / 6) ** (1 / power)

    between = sum(apart(x, y) for x in one for y in other) / 12
    within = [sum(apart(x, y) for x in images for y in images) / (len(images) * (len(images) - 1)) for images in (one, other)]
    assert energy_distance(one, other, power=power).item() == pytest.approx(2 * between - sum(within), rel=1e-4)


def test_energy_distance_is_0_on_average_between_halves_of_one_set():
    draw = torch.Generator().manual_seed(3)
    halves = [torch.rand(2, 40, 5, generator=draw) for _ in range(200)]
    found = torch.stack([energy_distance(one, other) for one, other in halves])
    assert abs(found.mean().item()) < 3 * (found.std() / 200**0.5).item()
    assert energy_distance(halves[0][0], halves[0][1] + 1).item() > 1


def test_weight_distance():
    one, other = nn.Linear(2, 1), nn.Linear(2, 1)
    with torch.no_grad():
        for network, values in ((one, (1.0, 2.0, 3.0)), (other, (1.5, 2.0, 1.0))):
            network.weight.copy_(torch.tensor([values[:2]]))
            network.bias.copy_(torch.tensor(values[2:]))
    assert weight_distance(one, other).item() == pytest.approx((0.25 + 0 + 4) / 3)
    assert weight_distance(one, one).item() == 0
    one, other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 1)), nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 1))
    numbers = [[v for p in network.parameters() for v in p.flatten().tolist()] for network in (one, other)]
    slow = sum((a - b) ** 2 for a, b in zip(*numbers, strict=True)) / len(numbers[0])
    assert weight_distance(one, other).item() == pytest.approx(slow, rel=1e-6)
    with pytest.raises(ValueError, match="shorter"):
        weight_distance(one, one[0])


def test_shared_change():
    image = torch.tensor([0.2, 0.5, 0.5, 0.5]).view(1, 1, 2, 2)
    one, other, third = image.clone(), image.clone(), image.clone()
    one[0, 0, 0, 0], other[0, 0, 1, 1], third[0, 0, 0, 0] = 0.6, 0.1, 0.4
    assert shared_change(one, other, image).item() == pytest.approx(0, abs=1e-6)  # changes of different pixels
    assert shared_change(one, one, image).item() == pytest.approx(1)
    # 0.4 and 0.2 of the same pixel: apart by 0.2, moved by 0.6
    assert shared_change(one, third, image).item() == pytest.approx(1 - 0.2 / 0.6, rel=1e-5)
    assert shared_change(image, image, image).item() == 1  # no change at all is the same change
    both = shared_change(torch.cat([one, one]), torch.cat([other, third]), torch.cat([image, image])).item()
    assert both == pytest.approx((1 - 0.2 / 0.6) / 2, abs=1e-5)  # the mean of images, whatever their size
    total = 0.0
    for a, b, x in zip(ONE, TWO, torch.rand(3, 1, 2, 2, generator=RANDOM), strict=True):
        apart = sum(abs(u - v) for u, v in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
        moved = sum(abs(u - v) for made in (a, b) for u, v in zip(made.flatten().tolist(), x.flatten().tolist(), strict=True))
        total += shared_change(a[None], b[None], x[None]).item() - (1 - apart / moved)
    assert total == pytest.approx(0, abs=1e-5)


def test_least_squares_losses():
    logit = torch.tensor([-1.0, 0.5, 2.0])
    assert squared_real(logit).item() == pytest.approx((4 + 0.25 + 1) / 3)
    assert squared_fake(logit).item() == pytest.approx((1 + 0.25 + 4) / 3)
    assert squared_real(torch.ones(2)).item() == squared_fake(torch.zeros(2)).item() == 0
    assert squared_real(logit.bfloat16()).dtype == squared_fake(logit.bfloat16()).dtype == torch.float32


def test_real_penalty():
    # a linear critic has its weights for a gradient: 3^2 + 4^2; a |x|^2 has 2 a x
    weight = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
    assert real_penalty(lambda image: (image * weight).flatten(1).sum(1), torch.rand(2, 1, 1, 2)).item() == pytest.approx(25)
    scale = torch.tensor(0.7, requires_grad=True)
    real = ONE.clone().requires_grad_(True)
    found = real_penalty(lambda image: scale * image.square().flatten(1).sum(1), real)
    slow = sum((1.4 * pixel) ** 2 for pixel in ONE.flatten().tolist()) / len(ONE)
    assert found.item() == pytest.approx(slow, rel=1e-5)
    found.backward()
    assert scale.grad.item() == pytest.approx(2 * slow / 0.7, rel=1e-5) and real.grad is None


def test_entropy_and_smoothness_of_a_mask():
    mask = torch.tensor([[0.0, 1.0, 0.25], [0.5, 0.75, 0.25]]).view(1, 1, 2, 3)
    assert mask_entropy(mask).item() == pytest.approx((0 + 0 + 0.25 + 0.5 + 0.25 + 0.25) / 6)
    down, right = (0.25 + 0.0625 + 0) / 3, (1 + 0.5625 + 0.0625 + 0.25) / 4
    assert mask_smoothness(mask).item() == pytest.approx((down + right) / 2)
    sharp = (mask > 0.6).float().expand(2, -1, -1, -1)
    assert mask_entropy(sharp).item() == 0 and mask_smoothness(torch.ones(2, 1, 3, 3)).item() == 0
