"""SyCE and its kin: every loss term against its equation, the order of the moves, who hears from what, and the answers."""

import math

import pytest
import torch

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.augment import DIGITS, Augment
from obverse.data.base import MemoryDataset, Sample
from obverse.methods.syce import CyCE, CyCSAE, SSyE, SyCE
from obverse.training import fit
from tiny_core import SHAPE, bright_classifier, bright_data

SMALL = {"width": 4, "depth": 2, "critic_width": 3, "critic_levels": 2, "seed": 2}
NAMES = ("adversarial_class", "realism", "symmetry", "stable_class", "cycle", "cycle_class")


def make(kind=SyCE, **settings):
    return kind(bright_classifier(), **{**SMALL, **settings})


def batch() -> Sample:
    data = bright_data(8, seed=3)
    return data[torch.tensor([0, 1, 4, 5])]  # two dark, two bright: the groups, sorted


def step() -> Step:
    return Step(3, 10, 1, 4, blocks=2)


def play(explainer, sample=None):
    """Run a step without updating anything; return what it yields."""
    return list(explainer.train_step(sample or batch(), step()))


# ---------------------------------------------------------------------- the equations, slowly


def bce(y, probability):
    return -sum(t * math.log(p) + (1 - t) * math.log(1 - p) for t, p in zip(y, probability, strict=True)) / len(y)


def f(explainer, image) -> list[float]:
    return explainer.classifier.posterior(image)[:, 1].tolist()


def sigmoid_of(critic, image) -> list[float]:
    return critic(image).sigmoid().tolist()


def distance(one, other) -> float:
    """||.||_{1,2}: mean of squares plus mean of absolutes, pixel by pixel."""
    pairs = list(zip(one.flatten().tolist(), other.flatten().tolist(), strict=True))
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs) + sum(abs(a - b) for a, b in pairs) / len(pairs)


def equations(explainer, x, i, stable):
    """Eqs 9 to 14 and 21 for domain i, with y = i, and their weights."""
    net = explainer.networks
    g, other, critic = net[f"generator_{i}"], net[f"generator_{1 - i}"], net[f"critic_{1 - i}"]
    y, adversary = [i] * len(x), g(x)
    cycled = other(adversary)
    found = {
        "adversarial_class": explainer.adversarial_class * bce([1 - i] * len(x), f(explainer, adversary)),  # eq. 9
        "realism": explainer.realism * bce([1] * len(x), sigmoid_of(critic, adversary)),  # eq. S21
        "cycle": explainer.cycle * distance(x, cycled),  # eq. 13
        "cycle_class": explainer.cycle_class * bce(y, f(explainer, cycled)),  # eq. 14
    }
    if stable:
        found["symmetry"] = explainer.symmetry * distance(x, g(adversary))  # eq. 11
        found["stable_class"] = explainer.stable_class * bce(y, f(explainer, g(adversary)))  # eq. 12
    return found


def critic_equations(explainer, real, fake, i, share):
    """Eqs 10 and 22 for the critic of domain i."""
    critic = explainer.networks[f"critic_{i}"]
    penalty = 0.0
    for row in range(len(real)):
        between = (real[row] + share[row] * (fake[row] - real[row])).detach()[None].requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(between).sum(), between)
        penalty += (math.sqrt(sum(value**2 for value in gradient.flatten().tolist())) - 1) ** 2 / len(real)
    return {
        f"real_{i}": bce([1] * len(real), sigmoid_of(critic, real)),
        f"fake_{i}": bce([0] * len(fake), sigmoid_of(critic, fake)),
        f"penalty_{i}": explainer.penalty * penalty,
    }


WEIGHTS = {"adversarial_class": 0.7, "realism": 0.6, "cycle": 3.0, "cycle_class": 0.9, "penalty": 2.0}


@pytest.mark.parametrize("i", [0, 1])
def test_every_term_of_syce_equals_its_equation(i):
    explainer = make(**WEIGHTS, symmetry=4.0, stable_class=0.8)
    player, losses = play(explainer)[i]
    expected = equations(explainer, batch().image.chunk(2)[i], i, stable=True)
    assert player == "generators" and set(losses) == {f"{name}_{i}" for name in NAMES}
    for name, value in expected.items():
        assert losses[f"{name}_{i}"].item() == pytest.approx(value, rel=2e-4), name


def test_the_identity_term_is_the_soft_distance_to_images_of_the_other_domain():
    explainer = make(CyCE, identity=3.0)
    (_, losses), _ = play(explainer)
    real = batch().image.chunk(2)
    for i in range(2):
        kept = explainer.networks[f"generator_{i}"](real[1 - i])
        change = (kept - real[1 - i]).double().flatten().tolist()
        slow = sum(math.sqrt(d**2 + 0.02**2) - 0.02 for d in change) / len(change)
        assert losses[f"identity_{i}"].item() == pytest.approx(3 * slow, rel=1e-4)


def test_every_term_of_cyce_equals_its_equation():
    explainer = make(CyCE, **WEIGHTS)
    (player, losses), _ = play(explainer)
    assert player == "generators" and len(losses) == 8
    for i in range(2):
        for name, value in equations(explainer, batch().image.chunk(2)[i], i, stable=False).items():
            assert losses[f"{name}_{i}"].item() == pytest.approx(value, rel=2e-4), name


@pytest.mark.parametrize("kind", [SyCE, CyCE])
def test_the_critics_terms_equal_their_equations(kind):
    explainer = make(kind, **WEIGHTS)
    player, losses = play(explainer)[-1]
    assert player == "critics" and len(losses) == 6
    real, noise = batch().image.chunk(2), step()
    noise.uniform(torch.empty(4, 6))  # the augmentation's numbers come first
    for i in range(2):
        fake = explainer.networks[f"generator_{1 - i}"](real[1 - i])  # g_{1-i} leads into domain i
        share = noise.uniform(torch.empty(2, 1, 1, 1))
        for name, value in critic_equations(explainer, real[i], fake, i, share).items():
            assert losses[name].item() == pytest.approx(value, rel=2e-4), name


def test_targets_are_decided_anew_on_the_augmented_batch():
    # upside down nothing changes; a mirror brings the random right half to the left: decisions change, domains do not
    explainer = make(augment=Augment(horizontal_flip=1.0), adversarial_class=1.0)
    image = torch.full((4, *SHAPE), 0.1)
    image[:2, ..., 8:] = 0.9  # dark, and bright in the mirror
    image[2:, ..., :8] = 0.9  # bright, and dark in the mirror
    (_, first), (_, second), _ = play(explainer, Sample(image=image))
    for i, losses in enumerate((first, second)):
        x = image.flip(3).chunk(2)[i]
        assert explainer.classifier.decide(x).tolist() == [1 - i] * 2
        adversary = explainer.networks[f"generator_{i}"](x)  # still its old generator
        assert losses[f"adversarial_class_{i}"].item() == pytest.approx(bce([i] * 2, f(explainer, adversary)), rel=2e-4)


# ---------------------------------------------------------------------- order


def test_syce_moves_the_generators_for_each_domain_and_then_the_critics():
    explainer = make()
    assert [player for player, _ in play(explainer)] == ["generators", "generators", "critics"]
    assert [player for player, _ in play(make(CyCE))] == ["generators", "critics"]
    x0, x1 = batch().image.chunk(2)
    moves = explainer.train_step(batch(), step())
    next(moves)
    first_fake = explainer.networks["generator_0"](x0)
    with torch.no_grad():  # an update, as fit would make one
        for i in range(2):
            for parameter in explainer.networks[f"generator_{i}"].parameters():
                parameter.add_(0.02)
    _, second = next(moves)
    for name, value in equations(explainer, x1, 1, stable=True).items():  # a fresh forward with the new weights
        assert second[f"{name}_1"].item() == pytest.approx(value, rel=2e-4), name
    _, critics = next(moves)
    found = sigmoid_of(explainer.networks["critic_1"], first_fake)
    assert critics["fake_1"].item() == pytest.approx(bce([0, 0], found), rel=2e-4)  # the fakes of this step's moves


def test_optimisers_are_adams_with_the_rates():
    explainer = make(generator_rate=3e-4, critic_rate=5e-4)
    players = explainer.players()
    kinds = {name: type(player).__name__ for name, player in players.items()}
    assert kinds == {"generators": "Adam", "critics": "Adam"}
    for kind, rate in (("generator", 3e-4), ("critic", 5e-4)):
        (group,) = players[f"{kind}s"].param_groups
        assert group["lr"] == rate and group["betas"] == (0.9, 0.999)
        own = [p for i in range(2) for p in explainer.networks[f"{kind}_{i}"].parameters()]
        assert {id(p) for p in group["params"]} == {id(p) for p in own}


def test_the_rate_falls_to_a_tenth_at_the_end():
    explainer = make(decay=0.25)
    rates = [explainer.rate(Step(index, 100, 0, 2)) for index in range(100)]
    assert rates[:76] == [1.0] * 76 and rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.1 + 0.9 / 25)
    assert make(decay=0.0).rate(Step(98, 100, 0, 2)) == 1.0


# ---------------------------------------------------------------------- who hears from what


def heard(loss, network) -> list[bool]:
    gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
    return [gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients]


@pytest.mark.parametrize("i", [0, 1])
def test_every_generator_layer_hears_from_every_term_meant_for_it(i):
    explainer = make(width=8)
    _, losses = play(explainer)[i]
    own, other = (explainer.networks[f"generator_{k}"] for k in (i, 1 - i))
    for name in NAMES:
        assert all(heard(losses[f"{name}_{i}"], own)), name
        if name.startswith("cycle"):
            assert all(heard(losses[f"{name}_{i}"], other)), name
        else:
            assert not any(heard(losses[f"{name}_{i}"], other)), name


@pytest.mark.parametrize("i", [0, 1])
def test_every_generator_layer_of_cyce_hears_from_every_term_meant_for_it(i):
    explainer = make(CyCE, width=8)
    losses = play(explainer)[0][1]
    own, other = (explainer.networks[f"generator_{k}"] for k in (i, 1 - i))
    for name in ("adversarial_class", "realism", "cycle", "cycle_class"):
        assert all(heard(losses[f"{name}_{i}"], own)), name
        assert any(heard(losses[f"{name}_{i}"], other)) == name.startswith("cycle"), name


@pytest.mark.parametrize("kind", [SyCE, CyCE])
@pytest.mark.parametrize("i", [0, 1])
def test_every_generator_layer_hears_from_the_terms_that_are_not_the_papers(kind, i):
    explainer = make(kind, width=8, identity=1.0, noise=2, diversity=1.0)
    moves = play(explainer)
    losses = {name: loss for player, found in moves if player == "generators" for name, loss in found.items()}
    own, other = (explainer.networks[f"generator_{k}"] for k in (i, 1 - i))
    for name in ("identity", "diversity"):
        assert all(heard(losses[f"{name}_{i}"], own)) and not any(heard(losses[f"{name}_{i}"], other)), name


def test_the_critics_move_trains_every_layer_of_its_own_critic_and_no_generator():
    explainer = make()
    _, losses = play(explainer)[-1]
    for i in range(2):
        own, other = (explainer.networks[f"critic_{k}"] for k in (i, 1 - i))
        assert all(heard(losses[f"real_{i}"], own)) and all(heard(losses[f"fake_{i}"], own))
        assert any(heard(losses[f"penalty_{i}"], own))
        for name in ("real", "fake", "penalty"):
            assert not any(heard(losses[f"{name}_{i}"], other))
            assert not any(heard(losses[f"{name}_{i}"], explainer.networks[f"generator_{1 - i}"]))


@pytest.mark.parametrize("kind", [SyCE, CyCE])
def test_the_classifier_never_changes_and_never_gets_a_gradient(kind):
    explainer = make(kind)
    weights = {key: value.clone() for key, value in explainer.classifier.module.state_dict().items()}
    before = {key: value.clone() for key, value in explainer.networks.state_dict().items()}
    fit(explainer, bright_data(16), steps=2, batch_size=4, average=0, progress=False, precision="float32")
    assert all(p.grad is None and not p.requires_grad for p in explainer.classifier.module.parameters())
    assert all(torch.equal(weights[key], value) for key, value in explainer.classifier.module.state_dict().items())
    still = [key for key, value in explainer.networks.state_dict().items() if torch.equal(before[key], value)]
    assert not still
    assert not any("classifier" in key for key in explainer.networks.state_dict())


# ---------------------------------------------------------------------- answers


def test_the_answer_is_the_generator_of_the_decision_once_and_twice(images):
    explainer = make()
    explanation = explainer.explain(images)
    for row in range(8):
        generator = explainer.networks[f"generator_{row % 2}"]
        with torch.no_grad():
            once = generator(images[row : row + 1])
            twice = generator(once)
        torch.testing.assert_close(explanation.counterfactual[row : row + 1], once, rtol=0, atol=0.51 / 255)
        torch.testing.assert_close(explanation.stable[row : row + 1], twice, rtol=0, atol=0.51 / 255)
        torch.testing.assert_close(explanation.attribution[row : row + 1], (twice - once).abs())
        assert explanation.residual[row].item() == pytest.approx((twice - images[row]).abs().mean().item(), rel=1e-4)
    torch.testing.assert_close(explanation.difference, explanation.counterfactual - explanation.stable)


def test_cyce_compares_with_the_image(images):
    explainer = make(CyCE)
    explanation = explainer.explain(images)
    assert explanation.stable is None
    once = explainer.networks["generator_1"](images[1:2]).detach()
    torch.testing.assert_close(explanation.attribution[1:2], (images[1:2] - once).abs())


@pytest.mark.parametrize("kind", [SyCE, CyCE])
def test_asked_for_what_is_already_decided_the_image_stays(kind, images):
    explanation = make(kind).explain(images, "bright")
    assert explanation.asked.tolist() == [True, False] * 4
    stay = ~explanation.asked
    torch.testing.assert_close(explanation.counterfactual[stay], images[stay])
    assert not explanation.attribution[stay].any() and not explanation.difference[stay].any()
    assert explanation.attribution[explanation.asked].flatten(1).any(1).all()


def test_syce_also_validates_its_stable_images(data):
    explainer = make()
    explanation = explainer.explain(data[slice(None)].image)
    lost = (explainer.classifier.decide(explanation.stable) != explanation.source).float().mean().item()
    l1 = (explanation.counterfactual - explanation.image).abs().mean().item()
    expected = 1 - explanation.valid.float().mean().item() + l1 + lost
    assert explainer.validate(data) == pytest.approx(expected, rel=1e-5)


def test_the_same_seed_makes_the_same_networks_and_leaves_the_random_state():
    classifier = bright_classifier()
    state = torch.get_rng_state()
    one, same, other = (SyCE(classifier, **{**SMALL, "seed": seed}) for seed in (2, 2, 3))
    assert torch.equal(state, torch.get_rng_state())
    for key, value in one.networks.state_dict().items():
        assert torch.equal(value, same.networks.state_dict()[key])
    assert not torch.equal(one.networks["generator_0"].out.weight, other.networks["generator_0"].out.weight)
    assert not torch.equal(one.networks["generator_0"].out.weight, one.networks["generator_1"].out.weight)


@pytest.mark.parametrize("kind", [SyCE, CyCE])
def test_saved_and_loaded_it_answers_alike(kind, images, tmp_path):
    explainer = make(kind, augment=DIGITS, norm="batch", refine=True, cycle=3.5)
    fit(explainer, bright_data(16), steps=2, batch_size=4, progress=False, precision="float32")
    explainer.save(tmp_path / "e")
    loaded = kind.load(tmp_path / "e", bright_classifier())
    assert torch.equal(loaded.explain(images).counterfactual, explainer.explain(images).counterfactual)
    assert loaded.describe() == explainer.describe()
    assert (loaded.augment, loaded.norm, loaded.refine, loaded.cycle) == (DIGITS, "batch", True, 3.5)


# ---------------------------------------------------------------------- settings and errors


def test_the_defaults_are_the_papers_digits_weights():
    # supplement table 1b (SyCE) and 1a (CyCE); critics and penalty have weight 1, the rates are 1e-4 and 2e-4
    syce, cyce = SyCE(bright_classifier()), CyCE(bright_classifier())
    weights = ("symmetry", "cycle", "adversarial_class", "stable_class", "cycle_class", "realism")
    assert [getattr(syce, name) for name in weights] == [10, 2, 0.2, 0.01, 0.005, 0.25]
    weights = ("cycle", "adversarial_class", "cycle_class", "realism")
    assert [getattr(cyce, name) for name in weights] == [10, 0.2, 0.005, 0.25]
    for explainer in (syce, cyce):
        assert explainer.penalty == 1 and (explainer.width, explainer.depth, explainer.norm) == (16, 2, "affine")
        assert (explainer.critic_width, explainer.critic_levels) == (32, 3)
        assert explainer.critic_rate == 2e-4


def test_groups_are_the_decisions_and_not_the_labels():
    data = bright_data(8)
    wrong = MemoryDataset(Sample(image=data.sample.image, label=1 - data.labels()), data.classes)
    assert make().groups(wrong).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_class_that_is_never_decided():
    dark = bright_data(8).subset([0, 1, 2, 3])
    with pytest.raises(ValueError, match="data: the classifier never decides 'bright' on these 4 images; syce needs"):
        fit(make(), dark, steps=1, batch_size=2, progress=False)


@pytest.mark.parametrize("kind", [SyCE, CyCE, SSyE, CyCSAE])
def test_more_than_two_classes_need_a_view_or_the_conditional_form(kind):
    several = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3)), ["a", "b", "c"], SHAPE,
                         device="cpu")  # fmt: skip
    said = (rf"{kind.name} translates between 2 classes, got 3 \(a, b, c\); .* classifier.against_rest\('a'\), "
            "or use conditional_syce")  # fmt: skip
    with pytest.raises(ValueError, match=said):
        kind(several)
    assert kind(several.against_rest("c"), **SMALL).classifier.classes == ("not c", "c")


def test_images_whose_sides_cannot_be_halved():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(100, 2))
    odd = Classifier(network, ["a", "b"], (1, 10, 10), device="cpu")
    with pytest.raises(ValueError, match=r"expected sides that are multiples of 4, got \(10, 10\); resize, or choose a smaller"):
        SyCE(odd, **SMALL)
