"""SAGen: every term of its loss written out, who hears from what, its answers, and the classes it refuses."""

import pytest
import torch

from methods.test_syce import bce, distance, f, heard
from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.methods.sagen import SAGen
from obverse.training import fit
from tiny_core import SHAPE, bright_classifier, bright_data

SMALL = {"width": 4, "seed": 2}
WEIGHTS = {"similarity": 3.0, "proximity": 2.0, "closeness": 5.0, "adversarial_class": 0.7, "stable_class": 0.9, "likeness": 4.0}


def make(**settings):
    return SAGen(bright_classifier(), **{**SMALL, **settings})


def play(explainer, image):
    ((player, losses),) = explainer.train_step(Sample(image=image), Step(3, 10, 1, len(image), blocks=2))
    assert player == "generator"
    return losses


def test_every_term_by_its_definition():
    explainer, x = make(**WEIGHTS), bright_data(8, seed=3)[slice(2, 6)].image
    network = explainer.networks["generator"]
    stable, adversary = network(x)
    heads = [[v for p in head.parameters() for v in p.flatten().tolist()] for head in network.heads]
    expected = {
        "similarity": 3.0 * distance(x, stable),
        "proximity": 2.0 * distance(x, adversary),
        "closeness": 5.0 * distance(stable, adversary),
        "adversarial_class": 0.7 * bce([1, 1, 0, 0], f(explainer, adversary)),
        "stable_class": 0.9 * bce([0, 0, 1, 1], f(explainer, stable)),
        "likeness": 4.0 * sum((a - b) ** 2 for a, b in zip(*heads, strict=True)) / len(heads[0]),
    }
    losses = play(explainer, x)
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=2e-4), name


def test_each_head_hears_from_its_own_terms():
    explainer, x = make(width=8), bright_data(8, seed=3)[slice(2, 6)].image
    network, losses = explainer.networks["generator"], play(explainer, x)
    stable, adversary = network.heads
    trunk = torch.nn.ModuleList([network.stem, network.down, network.residual, network.up])
    for name in ("similarity", "stable_class"):
        assert all(heard(losses[name], stable)) and not any(heard(losses[name], adversary)), name
    for name in ("proximity", "adversarial_class"):
        assert all(heard(losses[name], adversary)) and not any(heard(losses[name], stable)), name
    assert all(heard(losses["closeness"], stable)) and all(heard(losses["closeness"], adversary))
    for name in ("similarity", "proximity", "closeness", "adversarial_class", "stable_class"):
        assert all(heard(losses[name], trunk)), name
    assert not any(heard(losses["likeness"], trunk))


def test_the_answer_is_both_images_and_what_is_decided_already_stays(images):
    explainer = make()
    explanation = explainer.explain(images, "bright")
    with torch.no_grad():
        stable, adversary = explainer.networks["generator"](images)
    asked = explanation.asked
    assert asked.tolist() == [True, False] * 4
    torch.testing.assert_close(explanation.stable[asked], stable[asked], rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(explanation.counterfactual[asked], adversary[asked], rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(explanation.attribution[asked], (stable - adversary)[asked].abs())
    assert torch.equal(explanation.counterfactual[~asked], explanation.image[~asked])
    residual = (stable - images).abs().flatten(1).mean(1)
    torch.testing.assert_close(explanation.residual[asked], residual[asked])


def test_the_loss_falls_and_the_classifier_stays():
    explainer = make(learning_rate=3e-3, adversarial_class=1.0)
    x = bright_data(8, seed=3)[slice(2, 6)].image
    weights = {key: value.clone() for key, value in explainer.classifier.module.state_dict().items()}
    before = sum(value.item() for value in play(explainer, x).values())
    fit(explainer, bright_data(32), steps=12, batch_size=8, average=0, progress=False, precision="float32")
    assert sum(value.item() for value in play(explainer, x).values()) < 0.7 * before
    assert all(torch.equal(weights[key], value) for key, value in explainer.classifier.module.state_dict().items())


def test_domains_are_decisions_and_the_rate_falls():
    explainer = make(decay=0.25)
    assert explainer.groups(bright_data(8)).tolist() == [0] * 4 + [1] * 4
    assert explainer.rate(Step(50, 100, 0, 2)) == 1.0 and explainer.rate(Step(99, 100, 0, 2)) == pytest.approx(0.136)
    with pytest.raises(ValueError, match="never decides 'bright' on these 4 images; sagen needs"):
        explainer.groups(bright_data(8).subset([0, 1, 2, 3]))


def test_more_than_two_classes():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3))
    said = r"sagen translates between 2 classes, got 3 .*against_rest\('a'\), or use conditional_syce"
    with pytest.raises(ValueError, match=said):
        SAGen(Classifier(network, ["a", "b", "c"], SHAPE, device="cpu"))
