"""SyCE and CyCE for all classes: terms against the equations, balanced targets, answers for every target, errors."""

import pytest
import torch
from torch import nn

from methods.test_syce import bce, distance, heard
from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.losses import shared_change
from obverse.methods.conditional_syce import ConditionalCyCE, ConditionalSyCE
from obverse.methods.syce import SyCE
from obverse.training import fit
from tiny_core import SHAPE, bright_classifier, bright_data

KINDS = [ConditionalSyCE, ConditionalCyCE]
SMALL = {"width": 4, "depth": 2, "critic_width": 3, "critic_levels": 2, "seed": 2}
NAMES = ("dark", "grey", "bright")


class Levels(nn.Module):
    """Decides dark, grey or bright by the mean of the image: logits 0, 20 (m - 1/3), 40 (m - 1/2)."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(256, 3)
        with torch.no_grad():
            self.out.weight.copy_(torch.tensor([0.0, 20.0, 40.0])[:, None].expand(3, 256) / 256)
            self.out.bias.copy_(torch.tensor([0.0, -20 / 3, -20.0]))

    def forward(self, image):
        return self.out(image.flatten(1))


def levels() -> Classifier:
    return Classifier(Levels(), NAMES, SHAPE, device="cpu")


def level_data(count: int = 18, seed: int = 0) -> MemoryDataset:
    """A third each around 1/6, 1/2 and 5/6."""
    label = torch.arange(count) * 3 // count
    noise = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)) - 0.5
    image = (1 / 6 + label.view(-1, 1, 1, 1) / 3 + 0.2 * noise).clamp(0, 1)
    return MemoryDataset(Sample(image=image, label=label), NAMES)


def make(kind=ConditionalSyCE, **settings):
    return kind(levels(), **{**SMALL, **settings})


def batch() -> Sample:
    return level_data(12)[slice(None)]  # four of each, sorted


def step() -> Step:
    return Step(3, 10, 1, 12, blocks=3)


def play(explainer):
    return list(explainer.train_step(batch(), step()))


def ways(image):
    """What the step draws: domain and target of each row."""
    noise = step()
    noise.uniform(torch.empty(12, 6))
    turn = 1 + (noise.uniform(torch.empty(4)) * 2).long()
    domain = torch.arange(3).repeat_interleave(4)
    return domain, (domain + turn.repeat(3)) % 3, noise


def cross_entropy(classifier, image, classes) -> float:
    posterior = classifier.posterior(image).detach()
    return bce([1] * len(image), [float(posterior[row, k]) for row, k in enumerate(classes.tolist())])


WEIGHTS = {"adversarial_class": 0.7, "realism": 0.6, "cycle": 3.0, "cycle_class": 0.9, "penalty": 2.0}


@pytest.mark.parametrize("kind", KINDS)
def test_every_term_equals_its_equation(kind):
    stable = {"symmetry": 4.0, "stable_class": 0.8} if kind is ConditionalSyCE else {}
    explainer = make(kind, **WEIGHTS, **stable, width=8)
    (player, losses), _ = play(explainer)
    x, g, critic = batch().image, explainer.networks["generator"], explainer.networks["critic"]
    source, target, _ = ways(x)
    adversary = g(x, source, target)
    cycled = g(adversary, target, source)
    expected = {
        "adversarial_class": 0.7 * cross_entropy(explainer.classifier, adversary, target),  # eq. 9
        "realism": 0.6 * bce([1] * 12, critic(adversary, target).sigmoid().tolist()),  # eq. S21
        "cycle": 3.0 * distance(x, cycled),  # eq. 13
        "cycle_class": 0.9 * cross_entropy(explainer.classifier, cycled, source),  # eq. 14
    }
    if stable:
        again = g(adversary, source, target)
        expected["symmetry"] = 4.0 * distance(x, again)  # eq. 11
        expected["stable_class"] = 0.8 * cross_entropy(explainer.classifier, again, source)  # eq. 12
    assert player == "generators" and set(losses) == set(expected)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=3e-4), name
        # an embedding hears in the rows that are used; here all are
        assert all(heard(losses[name], g)), name


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_is_decided_as_its_target_is_asked_for_its_domain(kind):
    explainer = make(kind, adversarial_class=1.0)
    x, g = batch().image.roll(-2, 0), explainer.networks["generator"]  # as if augmentation had changed decisions
    source, target, _ = ways(x)
    decided = explainer.classifier.decide(x)
    kinds = {(d == s, d == t) for s, t, d in zip(source.tolist(), target.tolist(), decided.tolist())}
    assert len(kinds) == 3  # decided as the domain, as the target, and as neither
    wanted = torch.tensor([s if d == t else t for s, t, d in zip(source.tolist(), target.tolist(), decided.tolist())])
    (_, losses), _ = list(explainer.train_step(Sample(image=x), step()))
    expected = cross_entropy(explainer.classifier, g(x, source, target), wanted)
    assert losses["adversarial_class"].item() == pytest.approx(expected, rel=3e-4)


def test_with_two_classes_the_wanted_class_is_syces():
    explainer = ConditionalSyCE(bright_classifier(), **SMALL, adversarial_class=1.0)
    x = bright_data(4)[slice(None)].image.roll(1, 0)  # one of each domain is decided as the other
    decided, source = explainer.classifier.decide(x), torch.tensor([0, 0, 1, 1])
    assert decided.tolist() == [1, 0, 0, 1]
    (_, losses), _ = list(explainer.train_step(Sample(image=x), Step(3, 10, 1, 4, blocks=2)))
    adversary = explainer.networks["generator"](x, source, 1 - source)
    expected = cross_entropy(explainer.classifier, adversary, 1 - decided)  # eq. 9
    assert losses["adversarial_class"].item() == pytest.approx(expected, rel=3e-4)


def test_the_critics_terms_equal_their_equations():
    explainer = make(**WEIGHTS)
    player, losses = play(explainer)[-1]
    x, g, critic = batch().image, explainer.networks["generator"], explainer.networks["critic"]
    source, target, noise = ways(x)
    adversary = g(x, source, target)
    # beside each real image a fake of its class, made from the image in the same place of another class
    fake = torch.cat([adversary[(target == k).nonzero()[:, 0]][(torch.nonzero(target == k)[:, 0] % 4).argsort()]
                      for k in range(3)])  # fmt: skip
    share = noise.uniform(torch.empty(12, 1, 1, 1))
    penalty = 0.0
    for row in range(12):
        between = (x[row] + share[row] * (fake[row] - x[row])).detach()[None].requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(between, source[row : row + 1]).sum(), between)
        penalty += (float(gradient.square().sum().sqrt()) - 1) ** 2 / 12
    assert player == "critics" and set(losses) == {"real", "fake", "penalty"}
    assert losses["real"].item() == pytest.approx(bce([1] * 12, critic(x, source).sigmoid().tolist()), rel=2e-4)
    assert losses["fake"].item() == pytest.approx(bce([0] * 12, critic(fake, source).sigmoid().tolist()), rel=2e-4)
    assert losses["penalty"].item() == pytest.approx(2.0 * penalty, rel=2e-4)
    assert all(heard(losses["fake"], critic)) and not any(heard(losses["fake"], g))


def test_every_class_is_asked_for_as_often_as_it_is_there():
    explainer, image = make(), batch().image
    seen = set()
    for index in range(12):
        domain, target, same = explainer._targets(image, Step(index, 20, 0, 12, blocks=3))
        assert domain.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert torch.bincount(target).tolist() == [4, 4, 4] and not (target == domain).any()
        assert torch.equal(target[same], domain) and sorted(same.tolist()) == list(range(12))
        seen |= set(zip(domain.tolist(), target.tolist(), strict=True))
    assert len(seen) == 6  # every pair


def test_two_processes_ask_for_what_one_would():
    explainer = make()
    whole = explainer._targets(torch.empty(12, *SHAPE), Step(5, 20, 0, 12, blocks=3))[1].view(3, 4)
    for rank in range(2):
        part = explainer._targets(torch.empty(6, *SHAPE), Step(5, 20, 0, 6, blocks=3, rank=rank, world=2))[1]
        assert torch.equal(part.view(3, 2), whole[:, 2 * rank : 2 * rank + 2])


def test_with_two_classes_it_is_the_two_class_problem():
    explainer = ConditionalSyCE(bright_classifier(), **SMALL)
    domain, target, same = explainer._targets(torch.empty(4, *SHAPE), Step(0, 5, 0, 4, blocks=2))
    assert target.tolist() == [1, 1, 0, 0] == (1 - domain).tolist() and same.tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_noise_chooses_among_answers(kind):
    explainer = make(kind, noise=3, diversity=0.5, width=8)
    (_, losses), _ = play(explainer)
    x, g = batch().image, explainer.networks["generator"]
    source, target, numbers = ways(x)
    one, other = (numbers.uniform(torch.empty(12, 3)) for _ in range(2))
    adversary, second = g(x, source, target, one), g(x, source, target, other)
    assert losses["diversity"].item() == pytest.approx(0.5 * shared_change(adversary, second, x).item(), rel=1e-3)
    assert all(heard(losses["diversity"], g))
    cycled = g(adversary, target, source)  # the way back is the middle of the noise
    assert losses["cycle"].item() == pytest.approx(explainer.cycle * distance(x, cycled), rel=3e-4)
    torch.testing.assert_close(cycled, g(adversary, target, source, torch.full((12, 3), 0.5)))
    answers = explainer.explain(x[:1], "bright", answers=2)
    noise = [torch.special.ndtr(torch.randn(3, generator=torch.Generator().manual_seed(k)))[None] for k in range(2)]
    made = torch.cat([g(x[:1], source[:1], torch.tensor([2]), each).detach() for each in noise])
    torch.testing.assert_close(answers.counterfactual, made, rtol=0, atol=0.51 / 255)
    assert make(kind).many_answers is False and "diversity" not in play(make(kind))[0][1]


@pytest.mark.parametrize("kind", KINDS)
def test_one_network_answers_for_every_target(kind):
    explainer, images = make(kind), level_data()[torch.tensor([0, 6, 12, 1])].image
    g, source = explainer.networks["generator"], [0, 1, 2, 0]
    for k, name in enumerate(NAMES):
        explanation = explainer.explain(images, target=name)
        assert explanation.source.tolist() == source and explanation.asked.tolist() == [k != s for s in source]
        for row, s in enumerate(source):
            image = images[row : row + 1]
            if s == k:
                torch.testing.assert_close(explanation.counterfactual[row : row + 1], image, rtol=0, atol=0.51 / 255)
                assert not explanation.attribution[row].any()
                continue
            with torch.no_grad():
                once = g(image, torch.tensor([s]), torch.tensor([k]))
                twice = g(once, torch.tensor([s]), torch.tensor([k]))
            start = twice if kind is ConditionalSyCE else image
            made, shown = explanation.counterfactual[row : row + 1], explanation.attribution[row : row + 1]
            torch.testing.assert_close(made, once, rtol=0, atol=0.51 / 255)
            torch.testing.assert_close(shown, (start - once).abs(), rtol=1e-4, atol=1e-5)


def test_nothing_asked_changes_nothing():
    images = level_data()[torch.tensor([0, 1])].image
    explanation = make().explain(images, "dark")
    torch.testing.assert_close(explanation.counterfactual, images, rtol=0, atol=0.51 / 255)
    assert not explanation.asked.any() and not explanation.residual.any()


@pytest.mark.parametrize("kind", KINDS)
def test_validation_asks_for_all_pairs_in_turn(kind):
    explainer, data = make(kind), level_data(18)
    image = data[slice(None)].image
    target = torch.tensor([(int(s) + 1 + row % 2) % 3 for row, s in enumerate(data.labels())])
    explanation = explainer.explain(image, target)
    expected = 1 - explanation.valid.float().mean().item()
    expected += (explanation.counterfactual - explanation.image).abs().mean().item()
    if kind is ConditionalSyCE:
        kept = explainer.classifier.decide(explanation.stable) == explanation.source
        expected += 1 - kept.float().mean().item()
    assert explainer.validate(data) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_training_moves_all_and_leaves_the_classifier(kind, tmp_path):
    explainer = make(kind, penalty_every=2)
    before = {key: value.clone() for key, value in explainer.networks.state_dict().items()}
    weights = {key: value.clone() for key, value in explainer.classifier.module.state_dict().items()}
    fit(explainer, level_data(), validation=level_data(6), steps=2, batch_size=12, average=0, progress=False,
        precision="float32", run_dir=tmp_path / "run")  # fmt: skip
    assert not [key for key, value in explainer.networks.state_dict().items() if torch.equal(before[key], value)]
    assert all(torch.equal(weights[key], value) for key, value in explainer.classifier.module.state_dict().items())
    assert not any("classifier" in key for key in explainer.networks.state_dict())
    loaded, images = kind.load(tmp_path / "run", levels()), level_data()[slice(None)].image
    assert torch.equal(loaded.explain(images).counterfactual, explainer.explain(images).counterfactual)
    # three columns; image and a row for each target
    assert explainer.pictures(level_data()).shape == (1, 4 * 16, 3 * 16)


def test_the_defaults_are_the_digits_weights():
    weights = ("symmetry", "cycle", "adversarial_class", "stable_class", "cycle_class", "realism", "penalty")
    syce, cyce = ConditionalSyCE(levels()), ConditionalCyCE(levels())
    assert [getattr(syce, name) for name in weights] == [10, 2, 0.2, 0.01, 0.005, 0.25, 1]
    assert [getattr(cyce, name) for name in weights if hasattr(cyce, name)] == [10, 0.2, 0.005, 0.25, 1]
    assert syce.refine and cyce.refine and not SyCE(bright_classifier()).refine  # the one that differs


def test_a_class_that_is_never_decided():
    data = level_data(18).subset(range(12))
    with pytest.raises(ValueError, match="never decides 'bright' on these 12 images; conditional_syce needs images of every"):
        fit(make(), data, steps=1, batch_size=6, progress=False)


def test_a_batch_that_cannot_hold_all_classes():
    with pytest.raises(ValueError, match="batch_size: expected at least 3"):
        fit(make(), level_data(), steps=1, batch_size=2, progress=False)
