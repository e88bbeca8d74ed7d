import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, jaccard_score

from obverse.data.base import Sample
from obverse.explanation import NotApplicable
from obverse.metrics.localisation import NCC, AveragePrecision, evidence
from obverse.metrics.maps import Cut, _dices, _halfway, average_precision, best_cut, correlation, overlap
from obverse.metrics.overlap import Dice, IoU
from tiny import corner_classifier, explanation_of

CLASSIFIER = corner_classifier()


def case(seed, count=4, levels=7, size=6):
    """Maps with ties, and masks that are never empty."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(0, levels, (count, 1, size, size), generator=generator).float() / levels
    masks = (torch.rand(count, 1, size, size, generator=generator) < 0.3).float()
    masks[:, :, 0, 0] = 1
    return maps, masks


def scored(metric, maps, masks):
    image = torch.zeros_like(maps)
    return metric(explanation_of(image, None, attribution=maps), Sample(image=image, mask=masks), CLASSIFIER)


def test_all_worked_by_hand():
    maps = torch.tensor([[[[0.9, 0.6], [0.3, 0.0]]]])
    masks = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    cut = Cut(0.5)  # region: the upper row; mask: the left column; one pixel in common
    assert float(scored(IoU(cut=cut), maps, masks)) == pytest.approx(1 / 3)
    assert float(scored(Dice(cut=cut), maps, masks)) == pytest.approx(2 / 4)
    # by rank: hit, miss, hit, miss: precision 1 at recall 1/2, 2/3 at recall 1
    assert float(scored(AveragePrecision(), maps, masks)) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # map - mean: .45, .15, -.15, -.45; mask - mean: .5, -.5, .5, -.5
    expected = (0.45 * 0.5 - 0.15 * 0.5 - 0.15 * 0.5 + 0.45 * 0.5) / math.sqrt((2 * 0.45**2 + 2 * 0.15**2) * 1.0)
    assert float(scored(NCC(), maps, masks)) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(-0.1, 1.1))
def test_every_figure_equals_its_oracle(seed, threshold):
    maps, masks = case(seed)
    iou, dice = (scored(kind(cut=Cut(threshold)), maps, masks) for kind in (IoU, Dice))
    precision, ncc = scored(AveragePrecision(), maps, masks), scored(NCC(), maps, masks)
    for row in range(len(maps)):
        score, truth = maps[row].flatten().numpy(), masks[row].flatten().numpy().astype(int)
        region = (score.astype(np.float64) > np.float32(threshold)).astype(int)
        assert float(iou[row]) == pytest.approx(jaccard_score(truth, region, zero_division=0))
        assert float(dice[row]) == pytest.approx(f1_score(truth, region, zero_division=0))
        assert float(precision[row]) == pytest.approx(average_precision_score(truth, score), abs=1e-6)
        pearson = np.corrcoef(score, truth)[0, 1] if score.std() and truth.std() else 0.0
        assert float(ncc[row]) == pytest.approx(pearson, abs=1e-5)
    mean = float(iou.mean())
    assert float(dice.mean()) <= 2 * mean / (1 + mean) + 1e-6  # Jensen: Dice = 2I/(1+I) is concave in I


def test_the_perfect_and_the_opposite_map():
    _, masks = case(3)
    for metric in (IoU(cut=Cut(0.5)), Dice(cut=Cut(0.5)), AveragePrecision(), NCC()):
        assert scored(metric, masks, masks).tolist() == pytest.approx([1.0] * 4)
    assert scored(Dice(cut=Cut(0.5)), 1 - masks, masks).tolist() == [0.0] * 4
    assert scored(NCC(), 1 - masks, masks).tolist() == pytest.approx([-1.0] * 4)


def test_degenerate_maps_and_masks_have_defined_answers():
    _, masks = case(0)
    flat, full, none = torch.full_like(masks, 0.3), torch.ones_like(masks), torch.zeros_like(masks)
    assert scored(NCC(), flat, masks).tolist() == [0.0] * 4
    assert scored(NCC(), masks, full).tolist() == [0.0] * 4
    assert scored(AveragePrecision(), flat, masks).tolist() == pytest.approx(masks.flatten(1).mean(1).tolist())
    assert scored(IoU(cut=Cut(0.3)), flat, masks).tolist() == [0.0] * 4  # nothing above the threshold
    assert average_precision(flat, none).tolist() == [0.0] * 4
    assert overlap(none, none)[0].tolist() == [0.0] * 4
    assert overlap(none, none)[1].tolist() == [0.0] * 4
    rows = IoU().applies(explanation_of(flat, None), Sample(image=flat, mask=torch.cat([none[:2], masks[:2]])))
    assert rows.tolist() == [False, False, True, True]


def test_figures_do_not_depend_on_batch_mates():
    maps, masks = case(5)
    for metric in (IoU(cut=Cut(0.4)), Dice(cut=Cut(0.4)), AveragePrecision(), NCC()):
        alone = torch.cat([scored(metric, maps[k : k + 1], masks[k : k + 1]) for k in range(4)])
        assert torch.allclose(alone, scored(metric, maps, masks), atol=1e-6)


def test_the_cut_finds_the_best_threshold_and_polarity():
    maps, masks = case(1, count=6, levels=1000)
    found = best_cut(maps, masks, (1.0, -1.0))
    best = max(  # every possible threshold, both polarities
        float(overlap(sign * maps > t, masks)[1].mean()) for sign in (1, -1) for t in (sign * maps).unique().tolist()
    )
    reached = float(overlap(found.sign * maps > found.threshold, masks)[1].mean())
    assert reached >= 0.97 * best
    dark = best_cut(1 - masks, masks, (1.0, -1.0))
    assert dark.sign == -1.0
    assert float(overlap(-(1 - masks) > dark.threshold, masks)[1].min()) == 1.0


def test_all_cuts_in_one_pass_agree_with_one_after_the_other():
    maps, masks = case(3, count=5, levels=30)  # with ties
    masks[0] = 0
    ordered = maps.flatten().sort(descending=True).values
    places = torch.linspace(0, len(ordered) - 1, 40).long().unique()
    slow = [overlap(maps > _halfway(ordered, place), masks)[1].mean() for place in places.tolist()]
    assert torch.allclose(_dices(maps, masks, ordered, places), torch.stack(slow), atol=1e-6)


def test_a_cut_of_constant_maps_is_defined():
    flat, masks = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    assert overlap(flat > best_cut(flat, masks, (1.0,)).threshold, masks)[1].tolist() == [0.0, 0.0]


def test_correlation_is_scale_free_and_in_range():
    a, b = torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    assert torch.allclose(correlation(a, b), correlation(5 * a + 1, 0.1 * b - 3), atol=1e-5)
    assert correlation(a, a).tolist() == pytest.approx([1.0] * 3)
    tiny = 1e-30 * a
    assert bool(torch.isfinite(correlation(tiny, b)).all())


def test_maps_are_the_named_ones():
    image, other = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    answer = explanation_of(image, other)
    assert torch.equal(evidence(answer, "raw image"), image.mean(1, keepdim=True))
    assert torch.equal(evidence(answer, "signed difference"), (other - image).mean(1, keepdim=True))
    assert torch.equal(evidence(answer, "attribution"), answer.attribution)
    assert [metric.label for metric in NCC.instances()] == [
        "NCC, attribution", "NCC, signed difference", "NCC, raw image (control)"]  # fmt: skip


def test_what_is_missing_or_broken_is_named():
    maps, masks = case(0)
    with pytest.raises(NotApplicable, match="cut: iou on the attribution needs a threshold"):
        scored(IoU(), maps, masks)
    with pytest.raises(NotApplicable, match="cut: ncc on the raw image needs a threshold and polarity"):
        scored(NCC("raw image"), maps, masks)
    with pytest.raises(NotApplicable, match="mask: the data has no masks"):
        NCC()(explanation_of(maps, None), Sample(image=maps), CLASSIFIER)
    with pytest.raises(NotApplicable, match="counterfactual: the method makes no counterfactual"):
        scored(NCC("signed difference", Cut(0.0)), maps, masks)
    maps[1, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="attribution: expected finite maps, got NaN or infinity in 1 of 4"):
        scored(NCC(), maps, masks)
