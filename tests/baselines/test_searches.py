"""PGD, Wachter, CEM, BBMP: their objectives against slow restatements, and what they must keep to."""

import math

import pytest
import torch
from torch import nn

from baselines.baseline_nets import Convolutions, classifier, flat, images, mixed, query
from obverse.baselines.cem import CEM, _Search
from obverse.baselines.common import blur, margin
from obverse.baselines.masks import BBMP
from obverse.baselines.pgd import PGD
from obverse.baselines.wachter import Wachter
from obverse.classifier import Classifier
from obverse.explanation import as_saved
from obverse.search import minimise


def test_margin_by_hand():
    logits = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0]])
    assert margin(logits, torch.tensor([1, 2])).tolist() == [2.0, -2.0]


# ---------------------------------------------------------------- PGD


def test_pgd_stays_in_its_ball_and_in_the_range():
    chosen = classifier()
    x, epsilon = mixed(chosen, 6).round(), 0.1
    found = PGD(chosen, epsilon=epsilon, rate=0.03, steps=30, confidence=1.0).explain(x)
    assert found.difference.abs().max() <= epsilon + 0.5 / 255
    assert found.counterfactual.min() >= 0 and found.counterfactual.max() <= 1
    assert found.difference.abs().max() > 0.09  # the ball is used


def test_pgd_against_a_loop_step_by_step():
    chosen = classifier()
    x = mixed(chosen, 2)
    explainer = PGD(chosen, epsilon=0.2, rate=0.02, steps=5, confidence=1.0)
    target = 1 - chosen.decide(x)
    image, best, least = x.clone(), x.clone(), torch.full((2,), math.inf)
    for step in range(6):
        leaf = image.clone().requires_grad_()
        loss = nn.functional.cross_entropy(chosen.logits(leaf), target, reduction="none")
        best[loss < least], least = image[loss < least], torch.minimum(least, loss.detach())
        if step < 5:
            gradient = torch.autograd.grad(loss.sum(), leaf)[0]
            image = (image - 0.02 * gradient.sign()).clamp(x - 0.2, x + 0.2).clamp(0, 1)
    torch.testing.assert_close(explainer.answer(query(explainer, x)).counterfactual, best, rtol=0, atol=1e-5)


def test_pgd_stops_when_sure_and_when_nothing_moves():
    chosen = classifier()
    x = mixed(chosen, 6)
    found = PGD(chosen, epsilon=1.0, confidence=0.6).explain(x)
    assert found.valid.all()
    after = found.posterior_after.gather(1, found.target[:, None])
    longer = PGD(chosen, epsilon=1.0, confidence=0.99).explain(x).posterior_after.gather(1, found.target[:, None])
    assert (after > 0.55).all() and (longer > after).all()
    # a ball too small to flip: without patience it would take a thousand steps
    calls = []
    handle = chosen.module.register_forward_hook(lambda *_: calls.append(1))
    assert not PGD(chosen, epsilon=1e-4, patience=10).explain(x).valid.any()
    handle.remove()
    assert len(calls) < 100


class Brightness(nn.Module):
    """Logits [0, score(mean of the image)]."""

    def __init__(self, score) -> None:
        super().__init__()
        self.score = score

    def forward(self, image):
        score = self.score(image.mean((1, 2, 3)))
        return torch.stack([torch.zeros_like(score), score], 1)


def brightness(score) -> Classifier:
    return Classifier(Brightness(score), ["a", "b"], (1, 12, 12), device="cpu")


def test_pgd_sees_a_posterior_rise_that_is_still_below_a_millionth():
    chosen = brightness(lambda mean: 100 * (mean - 0.5))
    x = torch.full((2, 1, 12, 12), 0.1)  # log-odds of -40; a millionth, at -13.8, is 67 steps away
    found = PGD(chosen, epsilon=0.6, patience=10).explain(x)
    assert found.posterior_before[:, 1].max() < 1e-6 and found.valid.all()


def test_pgd_returns_the_highest_image_of_those_that_never_arrive():
    # the log-odds rise to -1 at a mean of 0.305, which steps of 0.1 jump over and back
    chosen = brightness(lambda mean: -1 - 40 * (mean - 0.305).abs())
    x = torch.full((2, 1, 12, 12), 0.1)
    x[1] = 0.13
    explainer = PGD(chosen, epsilon=0.5, rate=0.1, patience=5)
    means = explainer.answer(query(explainer, x)).counterfactual.mean((1, 2, 3))
    assert means.tolist() == pytest.approx([0.3, 0.33], abs=1e-5)


def test_pgd_published_never_stops_early():
    explainer = PGD.published(classifier(), epsilon=72 / 255)
    assert (explainer.steps, explainer.confidence, explainer.patience) == (1000, 1.0, 1000)
    assert explainer.epsilon == pytest.approx(72 / 255) and explainer.rate == pytest.approx(1 / 255)


# ---------------------------------------------------------------- Wachter


def test_wachter_objective_against_a_slow_sum():
    chosen = classifier(Convolutions(3), count=3)
    explainer = Wachter(chosen, confidence=0.8)
    x, start, target = images(3, 1), images(3, 2), torch.tensor([2, 0, 1])
    logits, wanted = chosen.logits(x).tolist(), math.log(0.8 / 0.2)
    for row in range(3):
        other = max(value for k, value in enumerate(logits[row]) if k != target[row])
        short = max(0.0, wanted - (logits[row][int(target[row])] - other))
        distance = sum(abs(a - b) for a, b in zip(x[row].flatten().tolist(), start[row].flatten().tolist()))
        expected = 3.0 * short**2 + distance
        assert float(explainer.loss(x, start, target, 3.0)[row]) == pytest.approx(expected, rel=1e-4)


def test_wachter_is_valid_and_nearer_than_pgd():
    chosen = classifier()
    x = mixed(chosen, 6)
    found, other = Wachter(chosen, steps=60).explain(x), PGD(chosen, epsilon=1.0).explain(x)
    assert found.valid.all() and other.valid.all()
    assert found.difference.abs().mean() < 0.7 * other.difference.abs().mean()


# ---------------------------------------------------------------- CEM


class Blur(nn.Module):
    def forward(self, image):
        return nn.functional.avg_pool2d(image, 3, 1, 1)


def test_cem_objective_against_a_slow_sum():
    chosen = classifier(Convolutions(3), count=3)
    explainer = CEM(chosen, Blur(), gamma=2.0, kappa=0.5)
    x, start, target, constant = images(3, 1), images(3, 2), torch.tensor([2, 0, 1]), torch.tensor([10.0, 1.0, 5.0])
    logits, again = chosen.logits(x).tolist(), Blur()(x)
    for row in range(3):
        other = max(value for k, value in enumerate(logits[row]) if k != target[row])
        hinge = max(0.0, other - logits[row][int(target[row])] + 0.5)
        square = sum((a - b) ** 2 for a, b in zip(x[row].flatten().tolist(), start[row].flatten().tolist()))
        error = sum((a - b) ** 2 for a, b in zip(x[row].flatten().tolist(), again[row].flatten().tolist()))
        expected = float(constant[row]) * hinge + square + 2.0 * error
        assert float(explainer.smooth_loss(x, start, target, constant)[row]) == pytest.approx(expected, rel=1e-4)


def slow_cem(explainer, x, target):
    """The released algorithm for one image, written out: momentum, shrinkage, and the search over c."""
    chosen, beta = explainer.classifier, explainer.beta
    constant, low, high = explainer.constant, 0.0, math.inf
    best, best_distance = None, math.inf
    for _ in range(explainer.searches):
        image, ahead, success = x.clone(), x.clone(), False
        for step in range(explainer.steps):
            leaf = ahead.clone().requires_grad_()
            loss = explainer.smooth_loss(leaf, x, target, torch.tensor([constant]))
            rate = explainer.rate * math.sqrt(1 - step / explainer.steps)
            ahead = ahead - rate * torch.autograd.grad(loss.sum(), leaf)[0]
            change = ahead - x
            moved = torch.where(change > beta, (ahead - beta).clamp_max(1), x)
            moved = torch.where(change < -beta, (ahead + beta).clamp_min(0), moved)
            moved = torch.maximum(moved, x)
            ahead = torch.maximum((moved + (step + 1) / (step + 4) * (moved - image)).clamp(0, 1), x)
            image = moved
            distance = float((image - x).square().sum() + beta * (image - x).abs().sum())
            if float(margin(chosen.logits(as_saved(image)), target)) > explainer.kappa:  # ours: as a file keeps it
                success = True
                if distance < best_distance:
                    best, best_distance = image.clone(), distance
        if success:
            high = min(high, constant)
        else:
            low = max(low, constant)
        constant = (low + high) / 2 if math.isfinite(high) else constant * 10
    return best


@pytest.mark.parametrize("autoencoder", [None, Blur()])
def test_cem_against_the_released_algorithm_written_out(autoencoder):
    chosen = classifier(flat())
    explainer = CEM(chosen, autoencoder, gamma=1.0, searches=3, steps=25, patience=25, check_every=1, beta=0.02,
                    constant=1.0, precision="float32")  # fmt: skip
    x = mixed(chosen, 4) * 0.6
    asked = query(explainer, x)
    found, flips = explainer.answer(asked).counterfactual, 0
    for row in range(4):
        expected = slow_cem(explainer, x[row : row + 1], asked.target[row : row + 1])
        if expected is not None:
            flips += 1
            torch.testing.assert_close(found[row : row + 1], expected, rtol=0, atol=1e-5)
    assert flips >= 2


def test_cem_in_bf16_finds_about_what_it_finds_in_float32_and_judges_in_float32():
    chosen = classifier(flat())
    x = mixed(chosen, 4) * 0.6
    low, full = (CEM(chosen, Blur(), gamma=1.0, steps=60, beta=0.02, precision=precision).explain(x)
                 for precision in ("bf16", "float32"))  # fmt: skip
    assert low.valid.all() and full.valid.all()
    assert low.difference.abs().mean() < 1.3 * full.difference.abs().mean()


def test_cem_published_is_the_released_search():
    made = CEM.published(classifier(flat()))
    assert (made.constant, made.rate, made.searches, made.steps, made.precision) == (10.0, 0.01, 9, 1000, "float32")


def test_cem_only_adds_unless_told_otherwise():
    chosen = classifier()
    x = mixed(chosen, 4)
    settings = {"beta": 0.01, "steps": 40, "searches": 2}
    added, free = (CEM(chosen, None, change=change, **settings).explain(x) for change in ("add", "any"))
    assert added.difference.min() >= -0.5 / 255 - 1e-6
    assert free.difference.min() < -0.02
    assert free.valid.all()


def test_cem_failures_are_the_last_images_and_marked():
    chosen = classifier()
    explainer = CEM(chosen, None, constant=0.5, searches=1, steps=5, beta=0.0, change="any", kappa=50.0)
    asked = query(explainer, as_saved(mixed(chosen, 4)))
    search = _Search(explainer, asked, torch.full((4,), 0.5))
    search.run()
    found = explainer.explain(asked.image)
    assert not search.distance.isfinite().any() and (found.difference != 0).flatten(1).any(1).all()
    torch.testing.assert_close(found.counterfactual, search.current, rtol=0, atol=0.5 / 255 + 1e-6)


def test_cem_early_stop_loses_little():
    chosen = classifier()
    explainer = CEM(chosen, None, beta=0.01, change="any", steps=60, patience=40, check_every=1)
    asked = query(explainer, mixed(chosen, 6))
    constant = torch.full((6,), 10.0)
    stopped = _Search(explainer, asked, constant)
    stopped.run()
    full = _Search(CEM(chosen, None, beta=0.01, change="any", steps=60, patience=60, check_every=1), asked, constant)
    full.run()
    assert stopped.distance.isfinite().all() and (stopped.distance >= full.distance - 1e-6).all()
    assert (stopped.distance <= 2.0 * full.distance).all()
    hasty = _Search(CEM(chosen, None, beta=0.01, change="any", steps=60, patience=5), asked, constant)
    hasty.run()
    assert torch.equal(hasty.distance.isfinite(), full.distance.isfinite())


def test_cem_published_setting():
    explainer = CEM.published(classifier(), Blur())
    assert (explainer.searches, explainer.steps, explainer.check_every, explainer.patience) == (9, 1000, 1, 1000)
    assert explainer.describe()["autoencoder"] == "Blur"


# ---------------------------------------------------------------- BBMP


def test_bbmp_objective_against_a_slow_sum():
    chosen = classifier()
    explainer = BBMP(chosen, filter=0.0, area=0.3, smoothness=0.7, power=3.0)
    x, mask = images(2), torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(4))
    blurred, source = blur(x, 5.0), torch.tensor([0, 1])
    for row in range(2):
        cells = mask[row, 0].tolist()
        area = sum(1 - cell for line in cells for cell in line) / 9
        down = sum(abs(cells[i + 1][j] - cells[i][j]) ** 3 for i in range(2) for j in range(3)) / 6
        across = sum(abs(cells[i][j + 1] - cells[i][j]) ** 3 for i in range(3) for j in range(2)) / 6
        large = nn.functional.interpolate(mask[row : row + 1], size=(12, 12), mode="bilinear", align_corners=False)
        blend = large * x[row : row + 1] + (1 - large) * blurred[row : row + 1]
        posterior = float(chosen.posterior(blend)[0, source[row]])
        expected = 0.3 * area + 0.7 * (down + across) + posterior
        assert float(explainer.loss(mask, x, blurred, source)[row]) == pytest.approx(expected, rel=1e-4)


def test_bbmp_lowers_the_posterior_and_spares_the_rest():
    chosen = classifier()
    x = mixed(chosen, 4)
    explainer = BBMP(chosen, filter=1.0, steps=40, area=0.05)
    found = explainer.explain(x)
    asked, blurred = query(explainer, x), blur(x, 5.0)
    half = explainer.loss(torch.full((4, 1, 3, 3), 0.5), x, blurred, asked.source)
    flat_mask = explainer.loss(torch.ones(4, 1, 3, 3), x, blurred, asked.source)
    blend = explainer.answer(asked).counterfactual
    reached = chosen.posterior(blend).gather(1, asked.source[:, None]).squeeze(1)
    assert (reached < torch.minimum(half, flat_mask) + 1e-6).all()
    assert found.attribution.min() >= 0 and found.attribution.max() <= 1
    heavy = BBMP(chosen, filter=1.0, steps=40, area=5.0).explain(x)
    kept = BBMP(chosen, filter=1.0, steps=40, area=1000.0).explain(x)  # too dear to blur anything: the map is empty
    assert not kept.attribution.any()
    assert heavy.attribution.mean() < 0.5 * found.attribution.mean()
    assert BBMP(chosen).upsampled(torch.zeros(1, 1, 3, 3), x).shape == (1, 1, 12, 12)


# ---------------------------------------------------------------- all


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: PGD(c, epsilon=64), "epsilon, confidence: expected at most 1, got 64 and 0.6; pixels are in"),
        (lambda c: PGD(c, rate=0), "rate: expected more than 0 for pgd, got 0"),
        (lambda c: PGD(c, confidence=2), "expected at most 1, got 0.25.* and 2"),
        (lambda c: Wachter(c, confidence=0.4), "expected 0.5 < confidence < 1 and factor > 1, got 0.4 and 10"),
        (lambda c: Wachter(c, factor=1.0), "got 0.9 and 1;"),
        (lambda c: Wachter(c, rounds=0), "rounds: expected more than 0 for wachter"),
        (lambda c: CEM(c, steps=0), "steps: expected more than 0 for cem"),
        (lambda c: CEM(c, gamma=-1), "beta, gamma, kappa: expected at least 0, got 0.1, -1, 0; 0 switches one off"),
        (lambda c: CEM(c, nn.Flatten()).explain(images()), r"autoencoder: expected .* \(\d, 1, 12, 12\) back"),
        (lambda c: BBMP(c, cell=7), "cell: expected 1 to 6 pixels for images of 12, got 7; 4 is the published size"),
        (lambda c: BBMP(c, area=-1), "filter, area, smoothness: expected at least 0, got 1, -1, 0.2"),
        (lambda c: BBMP(c, sigma=0), "sigma: expected more than 0 for bbmp"),
    ],
)
def test_errors_name_argument_expectation_and_remedy(make, message):
    with pytest.raises(ValueError, match=message):
        make(classifier())


def test_a_search_works_where_gradients_are_off():
    with torch.no_grad():
        found = minimise(lambda value, _: value.square().sum(1), torch.ones(2, 3), steps=50, rate=0.1, update="sgd")
    assert found.value.abs().max() < 1e-3
