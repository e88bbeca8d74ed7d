"""ExplainGAN: every term against its formula, the moves, and the answers."""

import math

import pytest
import torch
from torch.nn import functional as F

from obverse.baselines.explaingan import ExplainGAN, composite
from obverse.batches import Step
from obverse.training import fit
from tiny_core import SHAPE, bright_classifier, bright_data
from tiny_latent import blocks_classifier, levels_data

PRIOR = ("consistency", "count", "smoothness", "entropy")


def make(classifier=None, **settings) -> ExplainGAN:
    return ExplainGAN(classifier or bright_classifier(), **{"width": 4, "latent_size": 6, "seed": 3, **settings})


def batch():
    data = bright_data(8, seed=3)
    return data[torch.tensor([0, 1, 4, 5])]  # two dark, two bright: the groups, sorted


def play(explainer, sample=None, index=3):
    sample = sample or batch()
    return dict(explainer.train_step(sample, Step(index, 10, 1, len(sample), blocks=2)))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def by_hand(explainer, way, image):
    """Image as it is, as it would be in the other class, and mask, from the networks themselves."""
    pair, side = divmod(way, 2)
    out = explainer.networks[f"generator_{pair}"](explainer.networks[f"encoder_{pair}"](image))
    return out[:, side : side + 1], out[:, 1 - side : 2 - side], out[:, 2:]


def formulas(explainer, image, way, target) -> dict[str, float]:
    own, other, mask = by_hand(explainer, way, image)
    made = torch.empty_like(image)
    terms = {name: [] for name in ("reconstruction", *PRIOR)}
    for row in range(len(image)):
        cells = {name: [] for name in ("reconstruction", "consistency", "entropy", "down", "right")}
        for r in range(16):
            for c in range(16):
                x, y, t, m = (float(v[row, 0, r, c]) for v in (image, own, other, mask))
                made[row, 0, r, c] = x * (1 - m) + t * m
                cells["reconstruction"].append((y - x) ** 2)
                cells["consistency"].append(((1 - m) * (t - x)) ** 2)
                cells["entropy"].append(min(m, 1 - m))
                if r < 15:
                    cells["down"].append((float(mask[row, 0, r + 1, c]) - m) ** 2)
                if c < 15:
                    cells["right"].append((float(mask[row, 0, r, c + 1]) - m) ** 2)
        for name in ("reconstruction", "consistency", "entropy"):
            terms[name].append(mean(cells[name]))
        terms["smoothness"].append((mean(cells["down"]) + mean(cells["right"])) / 2)
        terms["count"].append(max(0.0, float(mask[row].mean()) - explainer.kappa))
    critic = explainer.networks[f"critic_{way // 2}_{1 - way % 2}"]
    opinion = critic(made).flatten().tolist()
    posterior = explainer.classifier.posterior(made)[:, target].tolist()
    found = {name: mean(values) for name, values in terms.items()}
    found["realism"] = mean(math.log(1 + math.exp(-value)) for value in opinion)
    found["decision"] = mean(-math.log(value) for value in posterior)
    return found


def test_every_term_is_its_formula():
    explainer = make(kappa=0.02)
    with torch.no_grad():
        explainer.networks["generator_0"].out.weight.mul_(4)  # masks and images that differ
    losses = play(explainer)["generators"]
    with torch.no_grad():
        both = [formulas(explainer, x, way, 1 - way) for way, x in enumerate(batch().image.chunk(2))]
    assert set(losses) == {"realism", "decision", "reconstruction", *PRIOR}
    assert losses["count"].item() > 0
    for name, loss in losses.items():
        expected = getattr(explainer, name) * mean(one[name] for one in both)
        assert loss.item() == pytest.approx(expected, rel=2e-4), name


def test_the_weights_are_the_supplements():
    explainer = make()
    assert [explainer.decision, explainer.reconstruction, explainer.consistency, explainer.count, explainer.smoothness,
            explainer.entropy, explainer.kappa] == [1, 1, 1, 1000, 1, 1, 0.05]  # fmt: skip


def test_the_critics_tell_real_images_of_a_class_from_counterfactuals_into_it():
    explainer = make()
    losses = play(explainer)["critics"]
    assert set(losses) == {"real_0", "fake_0", "real_1", "fake_1"}
    x, y = batch().image.chunk(2)
    for way, (image, real) in enumerate(((x, y), (y, x))):
        critic = explainer.networks[f"critic_0_{1 - way}"]
        _, other, mask = by_hand(explainer, way, image)
        made = composite(image, other, mask)
        assert losses[f"real_{way}"].item() == pytest.approx(F.softplus(-critic(real)).mean().item() / 2, rel=1e-4)
        assert losses[f"fake_{way}"].item() == pytest.approx(F.softplus(critic(made)).mean().item() / 2, rel=1e-4)
    lazy = play(explainer, index=8)["critics"]
    expected = 0.0
    for row in y:
        leaf = row[None].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(explainer.networks["critic_0_1"](leaf).sum(), leaf)
        expected += gradient.square().sum().item() / 2
    assert lazy["penalty_0"].item() == pytest.approx(0.5 * 8 * expected / 2, rel=1e-4)


def test_the_mask_starts_at_kappa_and_training_makes_valid_counterfactuals():
    explainer, data = make(bright_classifier(), learning_rate=5e-3, width=4, kappa=0.6), bright_data(32)
    _, _, mask = explainer.heads(data[slice(0, 8)].image, 0)
    assert mask.mean().item() == pytest.approx(0.6, abs=0.1)
    fit(explainer, data, validation=data, steps=32, batch_size=8, validate_every=16, progress=False, precision="float32")
    explanation = explainer.explain(data[slice(None)].image)
    assert explanation.valid.float().mean() > 0.8
    assert explanation.attribution.mean() < 0.62


def test_the_answer_is_the_composite_and_its_mask(images):
    explainer = make()
    explanation = explainer.explain(images)
    assert explanation.stable is None and explanation.residual is None
    with torch.no_grad():
        for row in range(8):
            image = images[row : row + 1]
            _, other, mask = by_hand(explainer, row % 2, image)
            torch.testing.assert_close(explanation.attribution[row : row + 1], mask, rtol=1e-4, atol=1e-5)
            expected = image + (other - image) * mask
            torch.testing.assert_close(explanation.counterfactual[row : row + 1], expected, rtol=0, atol=0.51 / 255)
    stays = explainer.explain(images, "bright")
    torch.testing.assert_close(stays.counterfactual[~stays.asked], images[~stays.asked])
    assert not stays.attribution[~stays.asked].any()


def test_several_pairs_have_networks_of_their_own():
    explainer = make(blocks_classifier("0", "1", "2"), pairs=(("0", "1"), ("1", "2")))
    fit(explainer, levels_data(12), steps=1, batch_size=6, progress=False, precision="float32")
    explanation = explainer.explain(levels_data(3)[slice(None)].image, torch.tensor([1, 2, 1]))
    assert explanation.counterfactual.shape == (3, *SHAPE)
    with torch.no_grad():
        _, _, mask = by_hand(explainer, 3, levels_data(3)[slice(2, 3)].image)  # 2 to 1
    torch.testing.assert_close(explanation.attribution[2:], mask, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kappa": 1.0}, r"kappa: expected a share in \(0, 1\), got 1; C3LT takes 0.05"),
        ({"width": 0}, "width"),
        ({"pairs": (("dark", "grey"),)}, "expected one of 'dark', 'bright'"),
    ],
)
def test_impossible_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        make(**settings)
