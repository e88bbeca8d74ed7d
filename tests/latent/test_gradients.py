"""Latent integrated gradients: a curve worked by hand, captum on a straight line, and what they sum to."""

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from obverse.latent.gradients import latent_gradients


def parabola(latent):
    """The images (z, z^2) of one number z."""
    return torch.cat([latent, latent.square()], 1)


def product(image):
    return image[:, 0] * image[:, 1]


def walked(form, steps=200):
    return latent_gradients(parabola, product, torch.zeros(1, 1), torch.ones(1, 1), steps=steps, form=form)


def test_both_forms_on_a_curve_worked_by_hand():
    # the gradient at (z, z^2) is (z^2, z); eq. 7 multiplies its mean by (1, 1), the walk's second pixel moves by 2z dz
    torch.testing.assert_close(walked("printed"), torch.tensor([[1 / 3, 1 / 2]]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(walked("walk"), torch.tensor([[1 / 3, 2 / 3]]), rtol=1e-4, atol=1e-4)
    assert walked("walk").sum().item() == pytest.approx(1.0, rel=1e-4)  # = score(1, 1) - score(0, 0)


def test_the_trapezoid_rule_with_two_steps_by_hand():
    # z = 0, 1/2, 1: gradients (0, 0), (1/4, 1/2), (1, 1); images (0, 0), (1/2, 1/4), (1, 1)
    first = 0.5 * (0 + 0.25) * 0.5 + 0.5 * (0.25 + 1) * 0.5
    second = 0.5 * (0 + 0.5) * 0.25 + 0.5 * (0.5 + 1) * 0.75
    torch.testing.assert_close(walked("walk", 2), torch.tensor([[first, second]]))
    means = [0.5 * (0.5 * (0 + 0.25) + 0.5 * (0.25 + 1)), 0.5 * (0.5 * (0 + 0.5) + 0.5 * (0.5 + 1))]
    torch.testing.assert_close(walked("printed", 2), torch.tensor([means]))


@pytest.mark.parametrize("form", ["walk", "printed"])
def test_on_a_straight_line_of_images_both_are_captums_integrated_gradients(form):
    torch.manual_seed(1)
    matrix, net = torch.rand(3, 8), nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 1))
    start, end = torch.rand(4, 3), torch.rand(4, 3)

    def score(image):
        return net(image).squeeze(1)

    found = latent_gradients(lambda latent: latent @ matrix, score, start, end, steps=400, form=form)
    oracle = IntegratedGradients(score).attribute(end @ matrix, start @ matrix, n_steps=100)
    torch.testing.assert_close(found, oracle.float(), rtol=1e-3, atol=1e-5)


def test_the_walk_sums_to_the_rise_where_the_score_saturates():
    def score(image):
        return (40 * (image.sum(1) - 1)).sigmoid()

    start, end = torch.zeros(1, 1), torch.ones(1, 1)
    total = latent_gradients(parabola, score, start, end, steps=100).sum()
    assert total.item() == pytest.approx(1.0, rel=0.02)


def test_gradients_work_inside_no_grad_and_leave_none_behind():
    net = nn.Linear(2, 1)
    with torch.no_grad():
        found = latent_gradients(parabola, lambda x: net(x).squeeze(1), torch.zeros(2, 1), torch.ones(2, 1), steps=3)
    assert not found.requires_grad and net.weight.grad is None
    torch.testing.assert_close(found, net.weight.detach().expand(2, -1))


@pytest.mark.parametrize(("steps", "form"), [(0, "walk"), (5, "line")])
def test_impossible_arguments(steps, form):
    with pytest.raises(ValueError, match=r"steps, form: expected at least 1 and 'walk' or 'printed', got"):
        latent_gradients(parabola, product, torch.zeros(1, 1), torch.ones(1, 1), steps=steps, form=form)
