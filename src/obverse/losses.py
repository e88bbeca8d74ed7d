"""Terms that more than one method uses: pure functions from tensors to one number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def l1_l2(image: Tensor, other: Tensor) -> Tensor:
    """Mean squared plus mean absolute difference, the ||.||_{1,2} of SyCE eqs 11 and 13.

    Deviation: the paper says average; its released code and its printed weights take the sum.
    """
    difference = image - other
    return difference.square().mean() + difference.abs().mean()


def soft_l1(image: Tensor, other: Tensor, width: float = 0.02) -> Tensor:
    """Mean of sqrt(d^2 + width^2) - width over differences d: the L1 distance, but quadratic for |d| well below `width`.

    The plain distance (width 0) pulls a generator that changes nothing as hard as one that changes much, and with signs
    that flip at every step. Adam scales by the size of the gradient, so a critic's is drowned there.
    """
    difference = image - other
    if width == 0:
        return difference.abs().mean()
    return ((difference.square() + width**2).sqrt() - width).mean()


def class_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of (N, K) logits with (N,) classes; for two classes the L_bce of SyCE eqs 9, 12 and 14."""
    loss: Tensor = F.cross_entropy(logits.float(), target)
    return loss


def log_odds(logits: Tensor, target: Tensor) -> Tensor:
    """Return (N,), the logit of the target's posterior, to full precision also near 0, from (N, K) logits and (N,) classes."""
    own = logits.float().gather(1, target[:, None]).squeeze(1)
    others = logits.float().scatter(1, target[:, None], -torch.inf).logsumexp(1)
    return own - others


def own_odds(logits: Tensor, target: Tensor) -> Tensor:
    """Return (N,), for each row of (N, K) logits the median of the log-odds of all rows of its class, at least 1."""
    odds = log_odds(logits, target)
    usual = torch.empty_like(odds)
    for k in target.unique():
        usual[target == k] = odds[target == k].median().clamp_min(1)
    return usual


def margin_loss(logits: Tensor, target: Tensor, margin: float | Tensor) -> Tensor:
    """Mean of max(0, margin - log-odds of the target) over (N, K) logits and (N,) classes; a margin of 0 is `class_loss`.

    The cross entropy hardly pulls at what is nearly decided, and for ever a little at what is decided; this pulls alike until
    the posterior is 1 / (1 + exp(-margin)), and then lets go. There is one margin, or (N,).
    """
    if not isinstance(margin, Tensor) and margin == 0:
        return class_loss(logits, target)
    return F.relu(margin - log_odds(logits, target)).mean()


def real_loss(logit: Tensor) -> Tensor:
    """L_bce(1, D(x)) = softplus(-logit) of SyCE eqs 10 and S21."""
    return F.softplus(-logit.float()).mean()


def fake_loss(logit: Tensor) -> Tensor:
    """L_bce(0, D(x)) = softplus(logit) of SyCE eq. 10."""
    return F.softplus(logit.float()).mean()


def squared_real(logit: Tensor) -> Tensor:
    """Mean of (D(x) - 1)^2: the least squares GAN (Mao et al.), for critics on real and generators on made images."""
    return (logit.float() - 1).square().mean()


def squared_fake(logit: Tensor) -> Tensor:
    """Mean of D(x)^2: the least squares GAN, for critics on made images."""
    return logit.float().square().mean()


def real_penalty(critic: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Mean squared norm of the gradient of the logit at real images (R1, Mescheder et al., without their 1/2).

    Args:
        critic: images to (N,) logits.
        real: (N, C, H, W).
    """
    at = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(at).float().sum(), at, create_graph=True)
    penalty: Tensor = gradient.float().flatten(1).square().sum(1).mean()
    return penalty


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Mean of (||gradient of the logit|| - 1)^2 between real and fake images (Gulrajani et al.; SyCE eq. S22).

    Args:
        critic: images to (N,) logits.
        real, fake: (N, C, H, W).
        share: (N, 1, 1, 1) in [0, 1], how far from real to fake.
    """
    between = (real + share * (fake - real)).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).float().sum(), between, create_graph=True)
    penalty: Tensor = (gradient.float().flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def l1_each(image: Tensor, other: Tensor) -> Tensor:
    """Mean absolute difference of each image from another, (N,); of an image and what a method makes of it the residual."""
    return (image - other).abs().flatten(1).mean(1)


def divergence_each(posterior: Tensor, logits: Tensor) -> Tensor:
    """KL(p || q) of each row, (N,), between posteriors p (N, K) and the softmax q of logits (N, K).

    It differs from the cross entropy of the two, or for two classes the BCE, by what does not depend on the logits.
    """
    return (torch.xlogy(posterior, posterior) - posterior * logits.float().log_softmax(1)).sum(1)


def changes(image: Tensor, made: Tensor) -> Tensor:
    """Return (N, 1, H, W), the squared change scaled to [0, 1] in each image; 0 where nothing changes."""
    change = (made - image).square().mean(1, keepdim=True)
    low, high = change.amin((1, 2, 3), keepdim=True), change.amax((1, 2, 3), keepdim=True)
    return (change - low) / (high - low).clamp_min(1e-8)


def mask_entropy(mask: Tensor) -> Tensor:
    """Mean of min(m, 1 - m) over a mask in [0, 1]: 0 where it is all or nothing (ExplainGAN; C3LT eq. 5)."""
    return torch.minimum(mask, 1 - mask).mean()


def mask_smoothness(mask: Tensor) -> Tensor:
    """Mean squared difference of neighbours, the mean of vertical and horizontal ones (ExplainGAN; C3LT eq. 5)."""
    return 0.5 * (mask.diff(dim=-2).square().mean() + mask.diff(dim=-1).square().mean())


def weight_distance(one: nn.Module, other: nn.Module) -> Tensor:
    """Mean squared difference of the parameters of two networks of one shape (the d_w of CyCSAE, SyCE eq. S18).

    Deviation: the paper says an L2 constraint; a mean over numbers keeps its weight apart from the networks' size.
    """
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    difference = torch.cat([(mine - theirs).flatten() for mine, theirs in pairs])
    return difference.square().mean()


def shared_change(one: Tensor, other: Tensor, image: Tensor) -> Tensor:
    """Share of what two answers to an image have in common, 1 where they are equal and 0 where they change other pixels.

    1 - |a - b| / (|a - x| + |b - x|), the mean over images. To minimise it is to seek modes (Mao et al. 2019), but the
    distance of two answers is measured by the size of their changes, not by that of their noise: it has no unit, cannot
    fall below 0, and small findings count as much as large ones.

    Args:
        one, other: (N, C, H, W), two answers to each image.
        image: (N, C, H, W).
    """
    apart = (one - other).abs().flatten(1).sum(1)
    moved = (one - image).abs().flatten(1).sum(1) + (other - image).abs().flatten(1).sum(1)
    return (1 - apart / moved.clamp_min(1e-6)).mean()


def energy_distance(one: Tensor, other: Tensor, *, power: float = 2.0) -> Tensor:
    """Energy distance of two sets of images, in units of a pixel; about 0 for sets from one distribution.

    2 E|x - y| - E|x - x'| - E|y - y'| (Szekely and Rizzo), unbiased, so that it may fall a little below 0. |x - y| is the
    root of the mean of the pixels' differences to a power: 2 for the root mean square, 1 for the mean absolute one.

    Args:
        one, other: (N, ...) and (M, ...), at least two of each.
        power: 1 or 2.
    """
    one, other = one.flatten(1).float(), other.flatten(1).float()
    within = [torch.cdist(x, x, p=power).sum() / max(len(x) * (len(x) - 1), 1) for x in (one, other)]
    between = torch.cdist(one, other, p=power).mean()
    distance: Tensor = (2 * between - within[0] - within[1]) / one.shape[1] ** (1 / power)
    return distance
