from dataclasses import dataclass

import pytest
import torch

from obverse.data.base import Sample
from obverse.explainer import Answer, Explainer, Query
from obverse.metrics.stability import MapArea, RepeatAgreement
from tiny import MapOnly, Negative, corner_classifier, corner_data, explanation_of


@dataclass(eq=False, kw_only=True)
class Dice(Explainer):
    """Answers with noise."""

    name = "dice"
    needs_gradient = False

    def answer(self, query: Query) -> Answer:
        return Answer(counterfactual=query.normal(*query.image.shape[1:]).sigmoid())


def test_answers_without_chance_agree_wholly_and_noise_not_at_all():
    classifier, data = corner_classifier(), corner_data()
    maps, images = RepeatAgreement()(Negative(classifier), data, classifier)
    assert maps.value == 1.0 and images.value == pytest.approx(1, abs=1e-5) and maps.n == 24
    maps, images = RepeatAgreement(images=8)(Dice(classifier), data, classifier)
    assert abs(images.value) < 0.3 and maps.value < 0.9 and images.n == 8
    (only,) = RepeatAgreement()(MapOnly(classifier), data, classifier)
    assert only.label == "repeated answers: correlation of maps" and only.value == 1.0


def test_map_area_by_hand():
    maps = torch.tensor([[[[1.0, 0.5], [0.05, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    image = torch.zeros_like(maps)
    answer, sample = explanation_of(image, None, attribution=maps), Sample(image=image)
    assert MapArea()(answer, sample, corner_classifier()).tolist() == [0.5, 0.0]
    curve = MapArea().curve(answer, sample, corner_classifier())
    assert curve.shape == (2, 21)
    assert curve[0, [0, 1, 2, 10, 20]].tolist() == [0.75, 0.5, 0.5, 0.25, 0.0]
    assert curve[1].tolist() == [0.0] * 21
