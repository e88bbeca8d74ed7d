import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from obverse.data.base import Sample
from obverse.explanation import NotApplicable
from obverse.metrics.base import Context
from obverse.metrics.localisation import PointingGame
from obverse.metrics.maps import Cut, otsu, strongest
from obverse.metrics.overlap import Dice, IoU, usual_size
from tiny import Truth, corner_classifier, corner_data, explanation_of

CLASSIFIER = corner_classifier()


def scored(metric, maps, masks):
    image = torch.zeros_like(maps)
    return metric(explanation_of(image, None, attribution=maps), Sample(image=image, mask=masks), CLASSIFIER)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_otsu_separates_as_scikit_image_does(seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(3, 1, 20, 20, generator=generator) ** 3
    maps[:, :, :5, :5] += 1
    found = otsu(maps)
    for row in range(3):
        values = maps[row, 0].double().numpy()
        expected = threshold_otsu(values, nbins=256)
        step = (values.max() - values.min()) / 256
        assert abs(float(found[row]) - expected) <= step + 1e-9
        assert np.array_equal(values > float(found[row]), values > expected)


def test_otsu_of_a_constant_map_marks_nothing():
    flat = torch.full((2, 1, 4, 4), 0.7)
    assert not bool((flat.double() > otsu(flat).view(-1, 1, 1, 1)).any())


def test_strict_rank_marks_exactly_as_many_pixels():
    maps = torch.zeros(2, 1, 4, 4)
    maps[0, 0, 1, 2] = 1
    chosen = strongest(maps, 3)
    assert chosen.flatten(1).sum(1).tolist() == [3, 3]
    assert chosen[0, 0].nonzero().tolist() == [[0, 0], [0, 1], [1, 2]]  # the highest, then ties in reading order


def test_rules_worked_by_hand():
    maps = torch.tensor([[[[1.0, 0.6], [0.4, 0.0]]]])
    masks = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    assert float(scored(IoU(rule="half maximum"), maps, masks)) == pytest.approx(1 / 3)  # 1 and .6
    assert float(scored(Dice(rule="percentile", size=0.25), maps, masks)) == pytest.approx(2 / 3)  # 1 alone
    assert float(scored(IoU(rule="percentile", size=0.75), maps, masks)) == pytest.approx(2 / 3)
    assert float(scored(Dice(rule="Otsu"), maps, masks)) == pytest.approx(0.5)  # 1 and .6
    assert float(scored(PointingGame(), maps, masks)) == 1.0
    assert float(scored(PointingGame(), maps.flip(-1), masks)) == 0.0


def test_constant_maps_have_defined_answers():
    masks = torch.zeros(1, 1, 4, 4)
    masks[..., :2, :2] = 1
    zero = torch.zeros_like(masks)
    assert float(scored(IoU(rule="half maximum"), zero, masks)) == 0.0
    assert float(scored(IoU(rule="Otsu"), zero, masks)) == 0.0
    assert float(scored(PointingGame(), zero, masks)) == 0.25  # the chance of a random pixel
    assert float(scored(IoU(rule="percentile", size=0.25), zero, masks)) == pytest.approx(2 / 6)  # the upper row


def test_the_size_of_annotations_comes_from_the_reference():
    data, classifier = corner_data(), corner_classifier()
    context = Context(explainer=Truth(classifier, data), data=data, reference=corner_data(8, seed=1))
    assert usual_size(context) == pytest.approx(16 / 144)
    metric = IoU(rule="percentile").prepare(context)
    assert metric.size == pytest.approx(16 / 144) and metric.note() == "the 11.11% highest pixels"
    answer = context.explainer.explain(data[1:2].image)
    assert int(metric.region(answer).sum()) == 16
    nothing = Context(explainer=context.explainer, data=data, reference=data.subset(torch.tensor([0])))
    with pytest.raises(NotApplicable, match="reference: has no image with a non-empty mask"):
        IoU(rule="percentile").prepare(nothing)


def test_what_each_rule_needs():
    assert IoU().required == {"mask", "validation"}
    assert IoU(rule="Otsu").required == {"mask"}
    assert IoU(rule="percentile").required == {"mask", "reference"}
    assert IoU("signed difference", rule="Otsu").required == {"mask", "validation", "counterfactual"}
    assert IoU("signed difference", Cut(0.0, -1.0), "Otsu").required == {"mask", "counterfactual"}
    with pytest.raises(NotApplicable, match="size: the percentile rule needs the annotations' size"):
        scored(IoU(rule="percentile"), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
