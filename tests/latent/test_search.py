"""The search of eq. 5: its loss, what it may move, what it finds, and when it stops."""

import math

import pytest
import torch
from torch import nn

from obverse.latent.search import LatentSearch
from obverse.models.anatomy import AnatomyModel
from tiny_core import SHAPE, bright_classifier, bright_data


class Flat(nn.Module):
    """sigmoid(dense(z)): z2 brightens the left half, which is what the classifier looks at, z1 draws on all pixels."""

    def __init__(self, anatomy: int, pathology: int) -> None:
        super().__init__()
        self.dense = nn.Linear(anatomy + pathology, 256)
        draw = torch.Generator().manual_seed(0)
        left = torch.zeros(16, 16)
        left[:, :8] = 1
        with torch.no_grad():
            self.dense.weight.copy_(0.4 * torch.randn(256, anatomy + pathology, generator=draw))
            self.dense.weight[:, anatomy:] = left.flatten()[:, None]
            self.dense.bias.copy_(-left.flatten())

    def forward(self, latent):
        return self.dense(latent).sigmoid().view(-1, *SHAPE)


def model(anatomy=6, pathology=2) -> AnatomyModel:
    networks = nn.ModuleDict({"generator": Flat(anatomy, pathology)})
    return AnatomyModel(networks, bright_classifier(), anatomy=anatomy, pathology=pathology, absent=0)


def own_images(two) -> torch.Tensor:
    """Dark, bright, dark and bright ones that the generator can make."""
    latent = two.sample(4, target=1, seed=1)
    latent[:, 6:] = torch.tensor([[0.0, 0.0], [2.0, 1.5], [0.0, 0.0], [1.0, 2.0]])
    image = two.decode(latent).detach()
    assert two._classifier.decide(image).tolist() == [0, 1, 0, 1]
    return image


def search(found: AnatomyModel, **settings) -> LatentSearch:
    chosen = {"steps": 40, "rate": 5e-2, "image_weight": 16.0, "patience": 50, **settings}
    return LatentSearch(model=found, classifier=found._classifier, **chosen)


def images():
    return bright_data(8, seed=2)[torch.tensor([0, 4, 1, 5])].image


def test_the_loss_is_eq_5():
    two, image, latent = model(), images(), torch.randn(4, 8)
    posterior = two._classifier.posterior(image)
    found = search(two, image_weight=3.0).objective(latent, image, posterior)
    made = two.decode(latent)
    for row in range(4):
        pairs = list(zip(made[row].flatten().tolist(), image[row].flatten().tolist(), strict=True))
        mse = sum((a - b) ** 2 for a, b in pairs) / len(pairs)
        p, q = posterior[row, 1].item(), two._classifier.posterior(made[row : row + 1])[0, 1].item()
        bce = -(p * math.log(q) + (1 - p) * math.log(1 - q))
        entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
        assert found[row].item() == pytest.approx(3 * mse + bce - entropy, rel=1e-4, abs=1e-5)


def test_without_z2_the_absent_class_is_wanted_where_the_image_has_another():
    two, latent = model(), torch.randn(4, 8, generator=torch.Generator().manual_seed(3))
    decided = torch.tensor([1, 0, 1, 1])
    found = search(two).negative_term(latent, decided)
    for row in range(4):
        alone = latent[row : row + 1].clone()
        alone[:, 6:] = 0
        loss = -math.log(two._classifier.posterior(two.decode(alone))[0, 0].item())
        assert found[row].item() == pytest.approx(loss if decided[row] else 0.0, rel=1e-4, abs=1e-6)
    assert search(two).negative_term(latent, torch.zeros(4, dtype=torch.int64)).tolist() == [0.0] * 4


def test_a_search_that_wants_it_leaves_the_evidence_in_z2():
    two = model()
    with torch.no_grad():
        two.modules()[0]["generator"].dense.weight[:, 0] = two.modules()[0]["generator"].dense.weight[:, 6]  # z1 can do it too
    image = own_images(two)[[1, 3]]
    start = two.from_normal(torch.zeros(2, 8), torch.tensor([1, 1]))[None]
    start[:, :, 0] = 4.0  # all the evidence is in z1

    def alone(found):
        return two._classifier.decide(two.decode(found.latent * two.allowed(torch.tensor([0, 0])))).tolist()

    plain, held = (search(two, steps=200, rate=0.05, negative=weight)(image, start) for weight in (0.0, 1.0))
    assert two._classifier.decide(plain.image).tolist() == two._classifier.decide(held.image).tolist() == [1, 1]
    assert alone(plain) == [1, 1] and alone(held) == [0, 0]
    assert held.residual.max() < plain.residual.max() + 0.02


def test_images_are_found_again_and_nothing_but_their_latents_moves():
    two = model()
    image = own_images(two)
    start = two.from_normal(torch.randn(4, 8), two._classifier.decide(image))[None]
    before = {key: value.clone() for key, value in two.modules()[0].state_dict().items()}
    found = search(two, steps=150, rate=0.1)(image, start)
    assert (two.decode(start[0]) - image).abs().mean((1, 2, 3)).min() > 0.1
    assert found.residual.max() < 0.02 and found.posterior_gap.max() < 0.02
    assert all(torch.equal(before[key], value) for key, value in two.modules()[0].state_dict().items())
    assert all(parameter.grad is None for parameter in two.modules()[0].parameters())
    # the absent class keeps z2 = 0, the present one does not
    assert not found.latent[[0, 2], 6:].any() and bool((found.latent[[1, 3], 6:] != start[0][[1, 3], 6:]).all())


def test_residual_and_gap_are_those_of_the_image_found():
    two, image = model(), images()
    found = search(two, steps=3)(image, two.from_normal(torch.randn(4, 8), two._classifier.decide(image))[None])
    made = two.decode(found.latent).detach()
    torch.testing.assert_close(found.image, made)
    torch.testing.assert_close(found.residual, (made - image).abs().mean((1, 2, 3)))
    gap = (two._classifier.posterior(image)[:, 1] - two._classifier.posterior(made)[:, 1]).abs()
    torch.testing.assert_close(found.posterior_gap, gap, rtol=1e-4, atol=1e-6)


def test_the_best_of_the_restarts_is_taken():
    two, image = model(), images()
    start = torch.stack([two.from_normal(torch.randn(4, 8), two._classifier.decide(image)) for _ in range(3)])
    posterior = two._classifier.posterior(image)
    found = search(two, steps=5)(image, start)
    alone = torch.stack([search(two, steps=5)(image, one[None]).latent for one in start])
    losses = torch.stack([search(two).objective(latent, image, posterior) for latent in alone])
    assert losses.argmin(0).unique().numel() > 1  # or the test would not tell
    for row, which in enumerate(losses.argmin(0).tolist()):
        torch.testing.assert_close(found.latent[row], alone[which, row], rtol=1e-3, atol=1e-4)


def test_a_search_that_gets_no_better_stops_and_does_so_for_itself():
    two = model()
    image = own_images(two)[1:]
    exact = two.sample(4, target=1, seed=1)[1]
    exact[6:] = torch.tensor([2.0, 1.5])
    start = torch.stack([exact, *two.from_normal(torch.randn(2, 8), two._classifier.decide(image[1:]))])[None]
    found = search(two, steps=30, patience=5, rate=1e-2)(image, start)
    assert found.steps[0] <= 10 and found.steps[1:].tolist() == [30, 30]
    assert found.stopped.tolist() == [True, False, False]
    assert found.residual[0] < 0.02 < found.residual[1:].min()


def test_a_search_that_only_leads_away_returns_its_start():
    two = model()
    latent = two.sample(3, target=1, seed=1)
    latent[:, 6:] = torch.tensor([[2.0, 1.5], [1.0, 2.0], [2.0, 2.0]])
    image = two.decode(latent).detach()
    found = search(two, steps=20, patience=2, rate=3.0)(image, latent[None])
    assert (found.steps < 20).all() and found.stopped.all()
    torch.testing.assert_close(found.latent, latent)
    assert found.residual.max() < 1e-6 and found.posterior_gap.max() < 1e-6


def test_parts_change_nothing():
    two, image = model(), images()
    start = torch.stack([two.from_normal(torch.randn(4, 8), two._classifier.decide(image)) for _ in range(2)])
    whole, parts = search(two, steps=5)(image, start), search(two, steps=5, rows=3)(image, start)
    for name in ("latent", "image", "residual", "posterior_gap", "steps"):
        torch.testing.assert_close(getattr(whole, name), getattr(parts, name), rtol=1e-3, atol=1e-4)
