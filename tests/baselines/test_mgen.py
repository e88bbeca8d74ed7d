"""MGen: its loss written out, its substitutes, its masks, its training."""

import math

import pytest
import torch

from baselines.baseline_nets import classifier, data, flat, images
from obverse.baselines.common import blur
from obverse.baselines.mgen import MGen
from obverse.batches import Step
from obverse.data.base import Sample
from obverse.training import fit

SMALL = {"width": 4, "seed": 1}


@pytest.mark.parametrize(("form", "slow"), [("log", lambda f: -math.log(1 - f)), ("power", lambda f: (f + 1e-4) ** 0.3)])
def test_every_term_by_its_definition(form, slow):
    chosen, x = classifier(flat()), images(3)
    explainer = MGen(chosen, **SMALL, smoothness=2.0, area=3.0, preserve=0.5, destroy=4.0, destruction=form, filter=0.0)
    other = images(3, seed=9)
    cells = explainer.networks["masks"](x).detach()
    assert cells.shape == (3, 1, 6, 6) and cells.min() > 0 and cells.max() < 1
    mask = torch.nn.functional.interpolate(cells, size=(12, 12), mode="bilinear", align_corners=False)
    decided = chosen.decide(x).tolist()
    down = [float(cells[n, 0, i + 1, j] - cells[n, 0, i, j]) ** 2 for n in range(3) for i in range(5) for j in range(6)]
    across = [float(cells[n, 0, i, j + 1] - cells[n, 0, i, j]) ** 2 for n in range(3) for i in range(6) for j in range(5)]
    kept, without = chosen.posterior(x * mask + other * (1 - mask)), chosen.posterior(x * (1 - mask) + other * mask)
    expected = {
        "smoothness": 2.0 * (sum(down) / 90 + sum(across) / 90),
        "area": 3.0 * float(mask.sum()) / (3 * 144),
        "preserve": 0.5 * -sum(math.log(float(kept[n, k])) for n, k in enumerate(decided)) / 3,
        "destroy": 4.0 * sum(slow(float(without[n, k])) for n, k in enumerate(decided)) / 3,
    }
    losses = explainer.losses(x, other)
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-4), name


def test_the_mask_is_a_share_of_two_channels():
    network, x = MGen(classifier(), width=8).networks["masks"], images(4)
    seen = []
    handle = network.out.register_forward_hook(lambda m, i, o: seen.append(o))
    mask = network(x)
    handle.remove()
    p, q = seen[0].abs().chunk(2, 1)
    torch.testing.assert_close(mask, (p + 1e-4) / (p + q + 2e-4))


def test_every_layer_hears_from_every_term():
    explainer, x = MGen(classifier(), width=8), images(4)
    network = explainer.networks["masks"]
    for name, loss in explainer.losses(x, images(4, 1)).items():
        gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
        assert all(g is not None and bool(g.abs().sum() > 0) for g in gradients), name


def test_half_of_the_substitutes_are_blurred_and_the_rest_a_grey_with_noise(monkeypatch):
    explainer, x, seen = MGen(classifier(), **SMALL, deviation=0.05, sigma=2.0), images(64), []
    monkeypatch.setattr(explainer, "losses", lambda image, substitute: seen.append(substitute) or {})
    list(explainer.train_step(Sample(image=x), Step(2, 10, 1, 64)))
    soft = blur(x, 2.0)
    blurred = (seen[0] - soft).abs().flatten(1).amax(1) < 1e-6
    assert 16 < int(blurred.sum()) < 48
    rest = seen[0][~blurred]
    assert rest.min() >= 0 and rest.max() <= 1
    means, spread = rest.flatten(1).mean(1), rest.flatten(1).std(1)
    assert means.std() > 0.15  # a grey of its own for each
    inner = (means > 0.2) & (means < 0.8)
    assert (spread[inner] - 0.05).abs().max() < 0.01
    for share, found in ((1.0, 64), (0.0, 0)):
        seen.clear()
        explainer.blurred = share
        list(explainer.train_step(Sample(image=x), Step(2, 10, 1, 64)))
        assert int(((seen[0] - soft).abs().flatten(1).amax(1) < 1e-6).sum()) == found


@pytest.mark.parametrize("substitute", ["blur", "constant", "noise"])
def test_the_answer_replaces_what_the_mask_marks(substitute):
    explainer, x = MGen(classifier(), **SMALL, substitute=substitute, sigma=2.0, deviation=0.2), images(3)
    explanation = explainer.explain(x, seed=4)
    with torch.no_grad():
        cells = explainer.networks["masks"](x)
        mask = blur(torch.nn.functional.interpolate(cells, size=(12, 12), mode="bilinear", align_corners=False), 1.0)
    torch.testing.assert_close(explanation.attribution, mask)
    mean = x.mean((2, 3), keepdim=True).expand_as(x)
    noise = torch.randn(1, 12, 12, generator=torch.Generator().manual_seed(4 * 1_000_003))
    other = {"blur": blur(x, 2.0), "constant": mean, "noise": (mean + 0.2 * noise).clamp(0, 1)}[substitute]
    torch.testing.assert_close(explanation.counterfactual, x * (1 - mask) + other * mask, rtol=0, atol=0.51 / 255)


def test_training_brings_the_loss_down_and_leaves_the_classifier():
    chosen = classifier(flat())
    explainer = MGen(chosen, **SMALL, learning_rate=1e-2)
    weights = {key: value.clone() for key, value in chosen.module.state_dict().items()}
    x, other = images(16, seed=5), images(16, seed=6)
    before = sum(value.item() for value in explainer.losses(x, other).values())
    fit(explainer, data(32), steps=20, batch_size=16, average=0, progress=False, precision="float32")
    assert sum(value.item() for value in explainer.losses(x, other).values()) < 0.9 * before
    assert all(torch.equal(weights[key], value) for key, value in chosen.module.state_dict().items())


@pytest.mark.parametrize(("settings", "said"), [
    ({"sigma": 0.0}, "sigma: expected more than 0 for mgen, got 0"),
    ({"width": -1}, "width: expected more than 0 for mgen, got -1"),
    ({"blurred": 1.5}, r"blurred: expected a share in \[0, 1\], got 1.5"),
])  # fmt: skip
def test_impossible_numbers(settings, said):
    with pytest.raises(ValueError, match=said):
        MGen(classifier(), **settings)
