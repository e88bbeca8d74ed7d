import pytest
import torch
from scipy.stats import pearsonr

from obverse.data.base import Sample
from obverse.explanation import NotApplicable
from obverse.metrics.twin import TrueDifference, TwinDistance
from tiny import Nothing, Truth, corner_classifier, corner_data, explanation_of


def test_the_true_twin_is_at_distance_zero_and_nothing_is_as_far_as_the_image():
    data, classifier = corner_data(), corner_classifier()
    sample = data[:]
    for explainer, expected in ((Truth(classifier, data), 0.0), (Nothing(classifier), None)):
        answer = explainer.explain(sample.image)
        rows = TwinDistance().applies(answer, sample)
        assert rows.tolist() == (sample.label == 1).tolist()
        chosen, some = answer.select(rows), sample.select(rows)
        value = TwinDistance()(chosen, some, classifier)
        unchanged = TwinDistance("image")(chosen, some, classifier)
        assert torch.equal(value, unchanged) if expected is None else value.tolist() == [expected] * len(value)
        correlated = TrueDifference()(chosen, some, classifier)
        assert correlated.tolist() == pytest.approx([0.0 if expected is None else 1.0] * len(value), abs=1e-4)


def test_distance_and_correlation_equal_their_oracles():
    image, other, twin = torch.rand(3, 4, 1, 5, 5).unbind(0)
    answer, sample = explanation_of(image, other), Sample(image=image, twin=twin)
    distance, correlated = (kind()(answer, sample, corner_classifier()) for kind in (TwinDistance, TrueDifference))
    for row in range(4):
        assert float(distance[row]) == pytest.approx(float((other[row] - twin[row]).abs().mean()), abs=1e-6)
        expected = pearsonr((other - image)[row].flatten(), (twin - image)[row].flatten()).statistic
        assert float(correlated[row]) == pytest.approx(expected, abs=1e-5)


def test_images_decided_wrongly_are_left_out():
    image = torch.rand(2, 1, 3, 3)
    sample = Sample(image=image, twin=1 - image, label=torch.tensor([0, 1]))
    assert TwinDistance().applies(explanation_of(image, image), sample).tolist() == [True, False]
    assert (
        TrueDifference().applies(explanation_of(image, image), Sample(image=image, twin=image)).tolist() == [False] * 2
    )


def test_missing_twins_are_named():
    image = torch.rand(1, 1, 3, 3)
    with pytest.raises(NotApplicable, match="twin: the data has no twins"):
        TwinDistance()(explanation_of(image, image), Sample(image=image), corner_classifier())
    with pytest.raises(NotApplicable, match="counterfactual: the method makes no counterfactual"):
        TrueDifference()(explanation_of(image, None), Sample(image=image, twin=image), corner_classifier())
