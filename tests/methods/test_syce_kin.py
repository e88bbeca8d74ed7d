"""SSyE, CyCSAE, the ablations, the presets and several answers: what differs from SyCE, against the equations."""

import pytest
import torch

from methods.test_syce import (
    NAMES,
    SMALL,
    WEIGHTS,
    batch,
    bce,
    critic_equations,
    distance,
    f,
    heard,
    make,
    play,
    sigmoid_of,
    step,
)
from obverse.batches import Step
from obverse.explanation import NotApplicable
from obverse.losses import shared_change
from obverse.methods.syce import CyCE, CyCSAE, SSyE, SyCE
from obverse.training import fit
from tiny_core import bright_classifier, bright_data

KINDS = [SyCE, CyCE, SSyE, CyCSAE]

# ---------------------------------------------------------------------- SSyE


@pytest.mark.parametrize("i", [0, 1])
def test_every_term_of_ssye_equals_its_equation(i):
    explainer = make(SSyE, adversarial_class=0.7, realism=0.6, symmetry=4.0, stable_class=0.8)
    g, critic = explainer.networks["generator"], explainer.networks[f"critic_{1 - i}"]
    x = batch().image.chunk(2)[i]
    player, losses = play(explainer)[i]
    assert player == "generators"
    expected = {
        f"adversarial_class_{i}": 0.7 * bce([1 - i] * 2, f(explainer, g(x))),  # eq. 9, S14's g(chi_i) in chi_1-i
        f"realism_{i}": 0.6 * bce([1, 1], sigmoid_of(critic, g(x))),  # eq. S21
        f"symmetry_{i}": 4.0 * distance(x, g(g(x))),  # eq. S14
        f"stable_class_{i}": 0.8 * bce([i, i], f(explainer, g(g(x)))),  # S14's g^2(chi_i) in chi_i
    }
    assert set(losses) == set(expected)  # without the cycle terms
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=2e-4), name
        assert all(heard(losses[name], g)), name


def test_ssye_has_one_generator_and_both_critics():
    explainer = make(SSyE)
    assert set(explainer.networks) == {"generator", "critic_0", "critic_1"}
    assert explainer.networks["generator"].refine is not None
    (group,) = explainer.players()["generators"].param_groups
    assert len(group["params"]) == len(list(explainer.networks["generator"].parameters()))
    player, losses = play(explainer)[-1]
    assert player == "critics" and set(losses) == {f"{n}_{i}" for n in ("real", "fake", "penalty") for i in range(2)}


def test_ssye_answers_both_ways_with_the_same_generator(images):
    explainer = make(SSyE)
    explanation, g = explainer.explain(images), explainer.networks["generator"]
    with torch.no_grad():
        once = g(images)
        twice = g(once)
    torch.testing.assert_close(explanation.counterfactual, once, rtol=0, atol=0.51 / 255)  # eq. S11
    torch.testing.assert_close(explanation.stable, twice, rtol=0, atol=0.51 / 255)  # eq. S12
    torch.testing.assert_close(explanation.attribution, (twice - once).abs())  # eq. S13


def test_an_identity_term_contradicts_one_generator():
    with pytest.raises(ValueError, match=r"identity: expected 0 for ssye, got 2: .* use syce"):
        make(SSyE, identity=2.0)


# ---------------------------------------------------------------------- CyCSAE


@pytest.mark.parametrize("i", [0, 1])
def test_every_term_of_cycsae_equals_its_equation(i):
    explainer = make(CyCSAE, **WEIGHTS, symmetry=4.0, stable_class=0.8, likeness=3.0)
    own, other = (explainer.networks[f"generator_{k}"] for k in (i, 1 - i))
    x = batch().image.chunk(2)[i]
    stable, adversary = own(x)
    cycled = other(adversary)[1]  # g^a of the other domain
    heads = [torch.cat([p.flatten() for p in head.parameters()]).tolist() for head in own.heads]
    squares = [(a - b) ** 2 for a, b in zip(*heads, strict=True)]
    expected = {
        "adversarial_class": 0.7 * bce([1 - i] * 2, f(explainer, adversary)),  # eq. 9 with g^a
        "realism": 0.6 * bce([1, 1], sigmoid_of(explainer.networks[f"critic_{1 - i}"], adversary)),  # eq. S21
        "symmetry": 4.0 * distance(x, stable),  # eq. S18, first term
        "stable_class": 0.8 * bce([i, i], f(explainer, stable)),  # S18's g^s(chi_i) in chi_i
        "cycle": 3.0 * distance(x, cycled),  # eq. 13 with g^a
        "cycle_class": 0.9 * bce([i, i], f(explainer, cycled)),  # eq. 14
        "likeness": 3.0 * sum(squares) / len(squares),  # d_w
    }
    player, losses = play(explainer)[i]
    assert player == "generators" and set(losses) == {f"{name}_{i}" for name in expected}
    for name, value in expected.items():
        assert losses[f"{name}_{i}"].item() == pytest.approx(value, rel=2e-4), name


@pytest.mark.parametrize("i", [0, 1])
def test_every_layer_of_cycsae_hears_from_the_terms_meant_for_it(i):
    explainer = make(CyCSAE, width=8)
    own, other = (explainer.networks[f"generator_{k}"] for k in (i, 1 - i))
    with torch.no_grad():  # no two biases alike, as the fresh ones are
        own.heads[1][0].bias.add_(0.1), own.heads[1][1].bias.add_(0.1), own.heads[1][2].bias.add_(0.1)
    _, losses = play(explainer)[i]
    trunk = torch.nn.ModuleList([own.stem, own.down, own.residual, own.up])
    for name in NAMES:
        wanted = 0 if name in ("symmetry", "stable_class") else 1
        assert all(heard(losses[f"{name}_{i}"], trunk)), name
        assert all(heard(losses[f"{name}_{i}"], own.heads[wanted])), name
        assert not any(heard(losses[f"{name}_{i}"], own.heads[1 - wanted])), name
        assert any(heard(losses[f"{name}_{i}"], other)) == name.startswith("cycle"), name
    assert all(heard(losses[f"likeness_{i}"], own.heads)) and not any(heard(losses[f"likeness_{i}"], trunk))


def test_cycsae_answers_with_both_outputs_of_one_pass(images):
    explainer = make(CyCSAE)
    explanation = explainer.explain(images)
    with torch.no_grad():
        stable, adversary = explainer.networks["generator_1"](images[1:2])
    torch.testing.assert_close(explanation.stable[1:2], stable, rtol=0, atol=0.51 / 255)  # eq. S16
    torch.testing.assert_close(explanation.counterfactual[1:2], adversary, rtol=0, atol=0.51 / 255)  # eq. S15
    torch.testing.assert_close(explanation.attribution[1:2], (stable - adversary).abs())  # eq. S17


@pytest.mark.parametrize("kind", [SSyE, CyCSAE])
def test_the_critics_see_the_counterfactuals(kind):
    explainer = make(kind, penalty=2.0)
    _, losses = play(explainer)[-1]
    real, noise = batch().image.chunk(2), step()
    noise.uniform(torch.empty(4, 6))
    for i in range(2):
        made = explainer.networks[explainer.generator_of[1 - i]](real[1 - i])
        fake = made if kind is SSyE else made[1]
        share = noise.uniform(torch.empty(2, 1, 1, 1))
        for name, value in critic_equations(explainer, real[i], fake, i, share).items():
            assert losses[name].item() == pytest.approx(value, rel=2e-4), name


# ---------------------------------------------------------------------- ablations


def test_without_cycle_terms_nothing_is_cycled():
    whole, ablated = make(), make(cycle=0.0, cycle_class=0.0)
    _, losses = play(ablated)[0]
    assert set(losses) == {f"{name}_0" for name in NAMES if not name.startswith("cycle")}
    for name, value in losses.items():
        torch.testing.assert_close(value, play(whole)[0][1][name])
    assert not any(heard(sum(losses.values()), ablated.networks["generator_1"]))


@pytest.mark.parametrize("kind", [SyCE, SSyE, CyCSAE])
def test_without_the_stable_image_the_map_compares_with_the_image(kind, images):
    explanation, whole = make(kind, compared="image").explain(images), make(kind).explain(images)
    assert explanation.stable is None and explanation.residual is None
    assert torch.equal(explanation.counterfactual, whole.counterfactual)
    torch.testing.assert_close(explanation.attribution, (images - whole.counterfactual).abs(), rtol=0, atol=0.51 / 255)


def test_without_the_stable_image_validation_is_validity_and_distance(data):
    explainer = make(compared="image")
    explanation = explainer.explain(data[slice(None)].image)
    l1 = (explanation.counterfactual - explanation.image).abs().mean().item()
    assert explainer.validate(data) == pytest.approx(1 - explanation.valid.float().mean().item() + l1, rel=1e-5)


# ---------------------------------------------------------------------- several answers


@pytest.mark.parametrize("kind", KINDS)
def test_noise_gives_several_answers(kind, images):
    explainer = make(kind, noise=3)
    assert explainer.many_answers and not make(kind).many_answers
    explanation = explainer.explain(images[:2], answers=3, seed=5)
    assert explanation.query.tolist() == [0, 0, 0, 1, 1, 1]
    first = explanation.counterfactual[:3]
    assert min((first[a] - first[b]).abs().max() for a, b in ((0, 1), (0, 2), (1, 2))) > 0
    again = explainer.explain(images[1:2], answers=2, seed=5)
    torch.testing.assert_close(again.counterfactual, explanation.counterfactual[3:5], rtol=0, atol=1.01 / 255)
    other = explainer.explain(images[:2], answers=3, seed=6)
    assert not torch.equal(other.counterfactual, explanation.counterfactual)


@pytest.mark.parametrize("kind", KINDS)
def test_without_noise_there_is_one_answer(kind, images):
    with pytest.raises(NotApplicable, match=f"answers: {kind.name} gives one answer an image, got 2"):
        make(kind).explain(images, answers=2)


def test_the_noise_of_an_answer_is_uniform_and_the_same_for_the_stable_image(images):
    explainer = make(noise=2)
    explanation = explainer.explain(images[:1], answers=2, seed=9)
    for k in range(2):
        normal = torch.randn(2, generator=torch.Generator().manual_seed(9 * 1_000_003 + k))
        uniform = (0.5 * (1 + torch.erf(normal / 2**0.5)))[None]
        with torch.no_grad():
            once = explainer.networks["generator_0"](images[:1], uniform)
            twice = explainer.networks["generator_0"](once, uniform)
        torch.testing.assert_close(explanation.counterfactual[k : k + 1], once, rtol=0, atol=0.51 / 255)
        torch.testing.assert_close(explanation.stable[k : k + 1], twice, rtol=0, atol=0.51 / 255)


def test_two_answers_are_pushed_apart_and_the_cycle_goes_back_without_noise():
    explainer = make(noise=2, diversity=0.3, cycle=3.0)
    x, noise = batch().image.chunk(2)[0], step()
    noise.uniform(torch.empty(4, 6))
    first, second = (noise.uniform(torch.empty(2, 2)) for _ in range(2))
    own, other = explainer.networks["generator_0"], explainer.networks["generator_1"]
    adversary = own(x, first)
    _, losses = play(explainer)[0]
    assert set(losses) == {f"{name}_0" for name in (*NAMES, "diversity")}
    expected = 0.3 * shared_change(adversary, own(x, second), x)
    torch.testing.assert_close(losses["diversity_0"], expected)
    middle = torch.full((2, 2), 0.5)
    assert losses["cycle_0"].item() == pytest.approx(3.0 * distance(x, other(adversary, middle)), rel=2e-4)
    assert losses["symmetry_0"].item() == pytest.approx(10.0 * distance(x, own(adversary, first)), rel=2e-4)


@pytest.mark.parametrize("settings", [{"noise": 0}, {"noise": 2, "diversity": 0.0}])
def test_without_noise_or_weight_there_is_no_diversity_term(settings):
    assert not [name for _, losses in play(make(**settings)) for name in losses if "diversity" in name]


@pytest.mark.parametrize("kind", [CyCE, CyCSAE])
def test_it_is_saved_and_loaded_with_its_noise(kind, images, tmp_path):
    explainer = make(kind, noise=2, diversity=0.2)
    fit(explainer, bright_data(16), steps=2, batch_size=4, progress=False, precision="float32")
    explainer.save(tmp_path / "e")
    loaded = kind.load(tmp_path / "e", bright_classifier())
    assert torch.equal(loaded.explain(images, answers=2).counterfactual, explainer.explain(images, answers=2).counterfactual)


# ---------------------------------------------------------------------- settings


def test_the_defaults_are_the_digits_weights_of_syce():
    weights = ("symmetry", "cycle", "adversarial_class", "stable_class", "cycle_class", "realism")
    assert [getattr(CyCSAE(bright_classifier()), name) for name in weights] == [10, 2, 0.2, 0.01, 0.005, 0.25]
    assert [getattr(SSyE(bright_classifier()), name) for name in weights] == [10, 0, 0.2, 0.01, 0, 0.25]
    assert [kind(bright_classifier(), **SMALL).noise for kind in KINDS] == [0] * 4


def test_the_presets_are_the_rows_of_the_papers_table():
    # supplement table 1: cycle, adversarial class, cycle class, realism; with SyCE's symmetry and stable class
    cyce = {
        "pneumonia-resnet50": (10, 0.05, 0.01, 0.025), "pneumonia-densenet121": (10, 0.05, 0.01, 0.05),
        "tumour-resnet50": (20, 0.1, 0.01, 0.05), "tumour-densenet121": (20, 0.2, 0.01, 0.05),
    }  # fmt: skip
    syce = {
        "pneumonia-resnet50": (10, 2, 0.05, 0.01, 0.001, 0.05), "pneumonia-densenet121": (10, 2, 0.05, 0.01, 0.01, 0.05),
        "tumour-resnet50": (20, 1, 0.2, 0.05, 0.01, 0.025), "tumour-densenet121": (20, 1, 0.2, 0.05, 0.001, 0.025),
    }  # fmt: skip
    fields = ("symmetry", "cycle", "adversarial_class", "stable_class", "cycle_class", "realism")
    for kind, rows in ((CyCE, cyce), (SyCE, syce)):
        assert set(kind.presets) == set(rows)
        for name, row in rows.items():
            explainer = kind.preset(bright_classifier(), name)
            own = [field for field in fields if hasattr(explainer, field)]
            assert tuple(getattr(explainer, field) for field in own) == row
            assert (explainer.depth, explainer.penalty) == (3, 1.0)


def test_an_unknown_preset():
    with pytest.raises(ValueError, match=r"preset: expected one of pneumonia-resnet50, .* for syce, got 'knee'"):
        SyCE.preset(bright_classifier(), "knee")
    with pytest.raises(ValueError, match="preset: expected one of none for ssye"):
        SSyE.preset(bright_classifier(), "knee")


@pytest.mark.parametrize("kind", [SSyE, CyCSAE])
def test_two_steps_move_all_and_the_classifier_stays(kind):
    explainer = make(kind)
    before = {key: value.clone() for key, value in explainer.networks.state_dict().items()}
    weights = {key: value.clone() for key, value in explainer.classifier.module.state_dict().items()}
    fit(explainer, bright_data(16), steps=2, batch_size=4, average=0, progress=False, precision="float32")
    assert not [key for key, value in explainer.networks.state_dict().items() if torch.equal(before[key], value)]
    assert all(torch.equal(weights[key], value) for key, value in explainer.classifier.module.state_dict().items())


def test_the_noise_of_a_step_belongs_to_the_step():
    explainer = make(noise=2)
    one, same, other = (
        next(explainer.train_step(batch(), Step(index, 10, 1, 4, blocks=2)))[1]["realism_0"].item() for index in (3, 3, 4)
    )
    assert one == same != other
