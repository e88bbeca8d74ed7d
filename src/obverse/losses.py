"""Terms that more than one method uses: pure functions from tensors to one number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def l1_l2(image: Tensor, other: Tensor) -> Tensor:
    """Mean squared plus mean absolute difference, the ||.||_{1,2} of SyCE eqs 11 and 13.

    Deviation: the paper says average; its released code and its printed weights take the sum.
    """
    difference = image - other
    return difference.square().mean() + difference.abs().mean()


def class_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of (N, K) logits with (N,) classes; for two classes the L_bce of SyCE eqs 9, 12 and 14."""
    loss: Tensor = F.cross_entropy(logits.float(), target)
    return loss


def real_loss(logit: Tensor) -> Tensor:
    """L_bce(1, D(x)) = softplus(-logit) of SyCE eqs 10 and 21."""
    return F.softplus(-logit.float()).mean()


def fake_loss(logit: Tensor) -> Tensor:
    """L_bce(0, D(x)) = softplus(logit) of SyCE eq. 10."""
    return F.softplus(logit.float()).mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Mean of (||gradient of the logit|| - 1)^2 between real and fake images (Gulrajani et al.; SyCE eq. 22).

    Args:
        critic: images to (N,) logits.
        real, fake: (N, C, H, W).
        share: (N, 1, 1, 1) in [0, 1], how far from real to fake.
    """
    between = (real + share * (fake - real)).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).float().sum(), between, create_graph=True)
    penalty: Tensor = (gradient.float().flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
