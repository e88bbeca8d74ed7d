import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.data.base import Sample
from obverse.explanation import NotApplicable
from obverse.metrics.proximity import L1, L1Paper, Represented, Residual
from tiny import corner_classifier, explanation_of


def random_images(seed, channels=1, count=3):
    return torch.rand(2, count, channels, 5, 4, generator=torch.Generator().manual_seed(seed))


def test_l1_worked_by_hand():
    image = torch.zeros(1, 1, 2, 2)
    answer = explanation_of(image, torch.tensor([[[[1.0, 0.5], [0.0, 0.0]]]]))
    assert float(L1()(answer, Sample(image=image), corner_classifier())) == pytest.approx(1.5 / 4)
    assert float(L1Paper()(answer, Sample(image=image), corner_classifier())) == pytest.approx(1.5 / 2)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([1, 3]))
def test_l1_equals_the_loop_and_its_bounds(seed, channels):
    image, other = random_images(seed, channels)
    value = L1()(explanation_of(image, other), Sample(image=image), corner_classifier())
    for row in range(len(image)):
        total, count = 0.0, 0
        for a, b in zip(image[row].flatten().tolist(), other[row].flatten().tolist()):
            total, count = total + abs(a - b), count + 1
        assert float(value[row]) == pytest.approx(total / count, abs=1e-6)
    assert bool(((value >= 0) & (value <= 1)).all())
    back = L1()(explanation_of(other, image), Sample(image=other), corner_classifier())
    assert torch.allclose(value, back)


def test_against_the_stable_image():
    image, other = random_images(1)
    stable = (image + other) / 2
    answer = explanation_of(image, other, stable=stable)
    values = L1("stable")(answer, Sample(image=image), corner_classifier())
    assert torch.allclose(values, L1()(answer, Sample(image=image), corner_classifier()) / 2, atol=1e-6)
    assert L1("stable").label == "L1 on [0, 1], to the stable image"
    assert "stable" in L1("stable").required
    with pytest.raises(NotApplicable, match="stable: the method makes no stable image"):
        L1("stable")(explanation_of(image, other), Sample(image=image), corner_classifier())


def test_nothing_changed_is_zero_for_one_image():
    image = random_images(2, count=1)[0]
    assert L1()(explanation_of(image, image), Sample(image=image), corner_classifier()).tolist() == [0.0]


def test_what_the_method_says_of_its_own_picture():
    image = torch.zeros(3, 1, 2, 2)
    answer, sample = explanation_of(image, image), Sample(image=image)
    for metric in (Residual(), Represented()):
        assert metric.applies(answer, sample).tolist() == [False] * 3  # it does not say
    within = torch.tensor([True, True, False])
    known = dataclasses.replace(answer, residual=torch.tensor([0.1, 0.2, 0.3]), represented=within)
    for metric, expected in ((Residual(), [0.1, 0.2, 0.3]), (Represented(), [1, 1, 0])):
        assert metric.applies(known, sample).all()
        assert metric(known, sample, corner_classifier()).tolist() == pytest.approx(expected)
