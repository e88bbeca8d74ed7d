"""Every shared term equals a slow restatement, and one case worked by hand."""

import math

import pytest
import torch
from torch import nn

from obverse.losses import class_loss, fake_loss, gradient_penalty, l1_l2, real_loss

RANDOM = torch.Generator().manual_seed(0)
ONE, TWO = torch.rand(3, 1, 2, 2, generator=RANDOM), torch.rand(3, 1, 2, 2, generator=RANDOM)


def test_l1_l2():
    # differences 0.5 and -1: squares 0.25 + 1, absolutes 0.5 + 1, each halved
    assert l1_l2(torch.tensor([0.5, 0.0]), torch.tensor([0.0, 1.0])).item() == pytest.approx(0.625 + 0.75)
    pairs = list(zip(ONE.flatten().tolist(), TWO.flatten().tolist(), strict=True))
    slow = sum((a - b) ** 2 for a, b in pairs) / 12 + sum(abs(a - b) for a, b in pairs) / 12
    assert l1_l2(ONE, TWO).item() == pytest.approx(slow, rel=1e-6)


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
