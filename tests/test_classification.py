"""Training the small classifiers: what a step is, what is chosen, what is refused."""

import math

import pytest
import torch
from torch.nn import functional as F

from obverse.batches import Step
from obverse.classification import ClassifierTraining
from obverse.classifier import Classifier
from obverse.data.augment import DIGITS
from obverse.data.base import MemoryDataset, Sample
from obverse.networks.classifiers import LeNet, ResNet
from obverse.training import fit
from tiny_core import SHAPE, bright_data

QUIET = {"progress": False, "precision": "float32"}


def make(**settings) -> ClassifierTraining:
    return ClassifierTraining(**{"classes": ("dark", "bright"), "image_shape": SHAPE, "width": 4, **settings})


@pytest.mark.parametrize("architecture, kind", [("LeNet", LeNet), ("ResNet", ResNet)])
def test_it_learns_and_is_frozen(architecture, kind, tmp_path):
    training = make(architecture=architecture)
    assert isinstance(training.networks["classifier"], kind)
    before = {key: value.clone() for key, value in training.networks.state_dict().items()}
    fit(training, bright_data(64), validation=bright_data(32, 1), steps=30, batch_size=16, validate_every=10, **QUIET)
    assert not [key for key, value in training.networks.state_dict().items() if torch.equal(before[key], value)]
    classifier = training.classifier()
    test = bright_data(32, 2)
    assert isinstance(classifier, Classifier) and classifier.classes == ("dark", "bright")
    assert (classifier.posteriors(test).argmax(1) == test.labels()).float().mean() >= 0.9
    classifier.save(tmp_path / "c")
    assert Classifier.load(tmp_path / "c").fingerprint == classifier.fingerprint


def test_a_step_is_the_cross_entropy_of_the_batch():
    training = make(architecture="ResNet")
    batch = bright_data(8)[slice(None)]
    ((player, losses),) = training.train_step(batch, Step(0, 1, 0, 8))
    logits = training.networks["classifier"](batch.image).log_softmax(1)
    slow = -sum(logits[row, label].item() for row, label in enumerate(batch.label.tolist())) / 8
    assert player == "classifier" and losses["cross_entropy"].item() == pytest.approx(slow, rel=1e-5)


def test_dropout_and_augmentation_depend_on_seed_and_step_only():
    training = make(augment=DIGITS)
    training.networks.train()
    batch = bright_data(8)[slice(None)]

    def loss(index, seed=0):
        ((_, losses),) = training.train_step(batch, Step(index, 9, seed, 8))
        return losses["cross_entropy"].item()

    state = torch.get_rng_state()
    assert loss(3) == loss(3) and len({loss(3), loss(4), loss(3, 1)}) == 3
    assert torch.equal(state, torch.get_rng_state())


def test_the_rate_is_half_a_cosine():
    training = make()
    for index in (0, 25, 50, 99):
        expected = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * index / 100))
        assert training.rate(Step(index, 100, 0, 1)) == pytest.approx(expected, abs=1e-6)
    assert training.rate(Step(0, 100, 0, 1)) == 1.0


def test_validation_is_the_error_and_a_tenth_of_the_cross_entropy():
    training = make()
    training.networks.eval()
    data = bright_data(20)
    sample = data[slice(None)]
    with torch.no_grad():
        logits = training.networks["classifier"](sample.image)
        wrong = sum(int(row.argmax()) != label for row, label in zip(logits, sample.label.tolist(), strict=True)) / 20
        expected = wrong + 0.1 * F.cross_entropy(logits, sample.label).item()
        assert training.validate(data) == pytest.approx(expected, rel=1e-5)


def test_with_balanced_batches_validation_counts_classes_equally():
    training = make(balance=True)
    training.networks.eval()
    data = bright_data(20).subset([0, 1, 2, 3, 4, 5, 6, 10])  # seven dark, one bright
    sample = data[slice(None)]
    assert sample.label.tolist() == [0] * 7 + [1]
    with torch.no_grad():
        logits = training.networks["classifier"](sample.image)
        by_class = []
        for k in (0, 1):
            rows = [row for row, label in zip(logits, sample.label.tolist(), strict=True) if label == k]
            each = [(int(row.argmax()) != k) - 0.1 * float(row.log_softmax(0)[k]) for row in rows]
            by_class.append(sum(each) / len(each))
        assert training.validate(data) == pytest.approx(sum(by_class) / 2, rel=1e-5)


def test_balanced_batches_are_asked_for():
    labels = torch.tensor([0] * 6 + [1] * 2)
    data = MemoryDataset(Sample(image=torch.rand(8, *SHAPE), label=labels), ["a", "b"])
    assert make().groups(data) is None
    assert torch.equal(make(balance=True).groups(data), labels)


def test_the_seed_makes_the_weights_and_leaves_the_random_state():
    state = torch.get_rng_state()
    one, same, other = make(), make(), make(seed=1)
    assert torch.equal(state, torch.get_rng_state())
    weight = [training.networks["classifier"].out.weight for training in (one, same, other)]
    assert torch.equal(weight[0], weight[1]) and not torch.equal(weight[0], weight[2])


def test_the_run_of_other_settings_is_not_resumed(tmp_path):
    run = {**QUIET, "steps": 1, "batch_size": 8, "run_dir": tmp_path / "run"}
    fit(make(augment=DIGITS), bright_data(16), **run)
    fit(make(augment=DIGITS), bright_data(16), existing="resume", **run)
    with pytest.raises(ValueError, match="holds a run of other augment"):
        fit(make(), bright_data(16), existing="resume", **run)


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"classes: expected at least 2, got \('a',\); a classifier chooses between"):
        make(classes=("a",))
    with pytest.raises(ValueError, match="local_contrast, stride: LeNet has neither, got True, 1; choose architecture ResNet"):
        make(architecture="LeNet", local_contrast=True)
    unlabelled = MemoryDataset(Sample(image=torch.rand(4, *SHAPE)), ["dark", "bright"], name="heap")
    with pytest.raises(ValueError, match="data: heap has no labels, got only images; a classifier learns from labels"):
        fit(make(), unlabelled, steps=1, batch_size=2, **QUIET)
    with pytest.raises(ValueError, match="data: heap has no labels, got only images; a classifier is chosen by labels"):
        make().validate(unlabelled)
    dark = bright_data(8).subset([0, 1, 2])
    with pytest.raises(ValueError, match="data: no image of class 'bright' among 3; check the split or the folder"):
        fit(make(balance=True), dark, steps=1, batch_size=2, **QUIET)
    with pytest.warns(UserWarning, match="data: no image of class 'bright' among 3; check .* It will hardly ever be decided"):
        fit(make(), dark, steps=1, batch_size=2, **QUIET)  # a classifier may be made that never saw a class
