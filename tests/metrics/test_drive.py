import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.data.base import Sample
from obverse.metrics.deletion import ConfidenceDrop, Deletion, Insertion, PixelDeletion
from obverse.metrics.drive import AupcSource, AupcTarget, Cout, transition
from obverse.metrics.perturbation import area, bounds, edits, exchange_curve, ranks
from tiny import SIZE, Negative, corner_classifier, corner_data, explanation_of

CLASSIFIER = corner_classifier(0.6, 0.05)
CLASSES = ("healthy", "lesion")


def case(count=3, seed=0):
    """Images with many pixels that do not change, so that there are ties and repeats."""
    generator = torch.Generator().manual_seed(seed)
    image, other = torch.rand(2, count, 1, SIZE, SIZE, generator=generator)
    same = torch.rand(count, 1, SIZE, SIZE, generator=generator) < 0.6
    other = torch.where(same, image, other)
    before, after = CLASSIFIER.posterior(image), CLASSIFIER.posterior(other)
    return explanation_of(image, other, classes=CLASSES, source=before.argmax(1), target=1 - before.argmax(1),
                          before=before, after=after)  # fmt: skip


def slow_curve(start, end, order, counts):
    """One image and one count at a time, pixel by pixel."""
    places = sorted(range(order.numel()), key=lambda p: (-float(order.flatten()[p]), p))
    rows = []
    for count in counts:
        image = start.clone()
        for place in places[:count]:
            y, x = divmod(place, image.shape[-1])
            image[:, y, x] = end[:, y, x]
        rows.append(CLASSIFIER.posterior(image[None])[0])
    return torch.stack(rows)


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 10_000), st.sampled_from([1, 7, 50]))
def test_transition_curves_equal_the_slow_loop(seed, steps):
    answer = case(2, seed)
    found = transition(answer, CLASSIFIER, "change", steps)
    for row in range(2):
        change = (answer.counterfactual[row] - answer.image[row]).abs().mean(0)
        counts = [round(step * change.numel() / steps) for step in range(steps + 1)]
        expected = slow_curve(answer.image[row], answer.counterfactual[row], change, counts)
        assert torch.allclose(found[row], expected, atol=1e-5)


def test_cout_is_target_minus_source_and_between_its_bounds():
    answer, sample = case(5), Sample(image=case(5).image)
    cout, target, source = (kind()(answer, sample, CLASSIFIER) for kind in (Cout, AupcTarget, AupcSource))
    assert torch.allclose(cout, target - source)
    assert torch.allclose(target, 1 - source, atol=1e-5)  # two classes
    curve = AupcTarget().curve(answer, sample, CLASSIFIER)
    assert curve.shape == (5, 51)
    assert torch.allclose(curve[:, 0], answer.posterior_before.gather(1, answer.target[:, None])[:, 0], atol=1e-6)
    assert torch.allclose(curve[:, -1], answer.posterior_after.gather(1, answer.target[:, None])[:, 0], atol=1e-6)


def test_worked_by_hand():
    # posteriors .2, .6, .9 of the target at 0, 1/2, 1: ((.2 + .6) / 2 + (.6 + .9) / 2) / 2
    assert float(area(torch.tensor([[0.2, 0.6, 0.9]]))) == pytest.approx(0.575)
    assert bounds(784, 50)[:4] == [0, 16, 31, 47] and bounds(784, 50)[-1] == 784
    assert bounds(5, 2) == [0, 2, 5]
    assert ranks(torch.tensor([[[[0.1, 0.9], [0.9, 0.5]]]])).tolist() == [[3, 0, 1, 2]]


def test_nothing_changed_means_cout_of_the_decision():
    answer = case(2)
    same = explanation_of(answer.image, answer.image, classes=CLASSES, source=answer.source, target=answer.target,
                          before=answer.posterior_before, after=answer.posterior_before)  # fmt: skip
    found = Cout()(same, Sample(image=same.image), CLASSIFIER)
    gap = same.posterior_before.gather(1, same.target[:, None]) - same.posterior_before.gather(1, same.source[:, None])
    assert torch.allclose(found, gap[:, 0], atol=1e-6)


def test_own_masks_are_told_from_absolute_differences():
    answer, sample = case(3), Sample(image=case(3).image)
    assert Cout("own mask").applies(answer, sample).tolist() == [False] * 3
    mask = torch.rand(3, 1, SIZE, SIZE)
    own = explanation_of(answer.image, answer.counterfactual, classes=CLASSES, source=answer.source,
                         target=answer.target, attribution=mask)  # fmt: skip
    assert Cout("own mask").applies(own, sample).tolist() == [True] * 3
    found = transition(own, CLASSIFIER, "own mask", 10)
    expected = slow_curve(own.image[1], own.counterfactual[1], mask[1, 0], bounds(SIZE * SIZE, 10))
    assert torch.allclose(found[1], expected, atol=1e-5)
    assert Cout("own mask").label == "COUT, by the method's own mask"


def edited(levels):
    """Two images, some cells replaced; `levels` (2, 4) is the mask's value in each 6 x 6 quarter."""
    image, other = torch.rand(2, 2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    mask = torch.tensor(levels).view(2, 1, 2, 2).repeat_interleave(6, 2).repeat_interleave(6, 3)
    other = torch.where(mask > 0, other, image)
    before, after = CLASSIFIER.posterior(image), CLASSIFIER.posterior(other)
    source = before.argmax(1)
    return explanation_of(image, other, classes=CLASSES, source=source, target=1 - source, attribution=mask,
                          before=before, after=after)  # fmt: skip


def test_edits_are_counted_by_the_values_of_the_mask():
    mask = edited([[1.0, 0.5, 0.0, 0.0], [0.2, 1.0, 0.6, 0.6]]).attribution
    assert edits(mask).tolist() == [[0, 36, 72, 72], [0, 36, 108, 144]]
    assert edits(torch.zeros(2, 1, 3, 3)).tolist() == [[0], [0]]


def test_cout_after_each_edit_equals_the_slow_loop():
    answer = edited([[1.0, 0.5, 0.0, 0.0], [0.2, 1.0, 0.6, 0.6]])
    sample = Sample(image=answer.image)
    metric = Cout("edits")
    assert metric.applies(answer, sample).tolist() == [True, True] and metric.label == "COUT, after each edit"
    found = metric(answer, sample, CLASSIFIER)
    for row, counts in enumerate(([0, 36, 72], [0, 36, 108, 144])):
        curve = slow_curve(answer.image[row], answer.counterfactual[row], answer.attribution[row, 0], counts)
        expected = [
            float(torch.trapezoid(curve[:, k]) / (len(counts) - 1)) for k in (answer.target[row], answer.source[row])
        ]
        assert float(found[row]) == pytest.approx(expected[0] - expected[1], abs=1e-5)
    alone = answer.select(torch.tensor([0]))  # the other image has more edits
    assert float(metric(alone, sample, CLASSIFIER)) == pytest.approx(float(found[0]), abs=1e-6)


def test_only_lists_of_edits_are_taken_for_such():
    answer = case(3)
    sample = Sample(image=answer.image)
    assert Cout("edits").applies(answer, sample).tolist() == [False] * 3  # the absolute difference
    smooth = explanation_of(answer.image, answer.counterfactual, attribution=torch.rand(3, 1, SIZE, SIZE))
    assert Cout("edits").applies(smooth, sample).tolist() == [False] * 3  # as many values as pixels
    partial = edited([[1.0, 0.5, 0.0, 0.0], [0.2, 1.0, 0.6, 0.6]])
    missing = torch.where(partial.attribution == 0.5, 0.0, partial.attribution)
    outside = explanation_of(partial.image, partial.counterfactual, attribution=missing)
    assert Cout("edits").applies(outside, sample).tolist() == [False, True]  # changes that no edit made


def test_identical_steps_are_classified_once():
    answer, asked = case(2), []

    class Counting:
        classes = CLASSES

        def posterior(self, image):
            asked.append(len(image))
            return CLASSIFIER.posterior(image)

    change = (answer.counterfactual - answer.image).abs()
    counts = bounds(SIZE * SIZE, 50)
    exchange_curve(answer.image, answer.counterfactual, change, Counting(), counts)
    assert sum(asked) < 0.6 * 2 * 51  # 60 % of the pixels do not change


@pytest.mark.parametrize(("kind", "steps"), [(Deletion, 20), (Insertion, 20)])
def test_deletion_and_insertion_equal_the_slow_loop(kind, steps):
    answer = case(2)
    found = kind()(answer, Sample(image=answer.image), CLASSIFIER)
    shown = kind().curve(answer, Sample(image=answer.image), CLASSIFIER)
    for row in range(2):
        image = answer.image[row]
        flat = torch.full_like(image, float(image.mean()))
        start, end = (image, flat) if kind is Deletion else (flat, image)
        counts = [round(step * SIZE * SIZE / steps) for step in range(steps + 1)]
        curve = slow_curve(start, end, answer.attribution[row, 0], counts)[:, answer.source[row]]
        expected = float(torch.trapezoid(curve) / steps)
        assert float(found[row]) == pytest.approx(expected, abs=1e-5)
        assert torch.allclose(shown[row], curve, atol=1e-5)


def test_pixel_deletion_equals_the_loop_over_draws():
    answer = case(2)
    metric = PixelDeletion(fractions=(0.1, 0.5), draws=3, seed=4)
    found, kept = metric(answer, Sample(image=answer.image), CLASSIFIER), torch.zeros(2)
    for draw in range(3):
        noise = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(4 + 1000 * (draw + 1)))
        for row in range(2):
            curve = slow_curve(answer.image[row], noise, answer.attribution[row, 0], [14, 72])
            kept[row] += float((curve.argmax(1) == answer.source[row]).sum()) / 6
    assert torch.allclose(found, kept, atol=1e-6)


def test_confidence_drop_by_hand():
    image = torch.full((1, 1, SIZE, SIZE), 0.4)
    image[..., :4, :4] = 0.9
    order = torch.zeros_like(image)
    order[..., 0, :7] = 1  # 5 % of 144 pixels are 7
    before = CLASSIFIER.posterior(image)
    answer = explanation_of(image, None, classes=CLASSES, attribution=order, source=torch.tensor([1]),
                            target=torch.tensor([0]), before=before, after=before)  # fmt: skip
    edited = image.clone()
    edited[..., 0, :7] = image.mean()
    expected = float(before[0, 1] - CLASSIFIER.posterior(edited)[0, 1])
    assert float(ConfidenceDrop()(answer, Sample(image=image), CLASSIFIER)) == pytest.approx(expected, abs=1e-6)


def test_the_place_that_decides_beats_random_places():
    data, classifier = corner_data(), corner_classifier()
    lesions = data.subset(torch.arange(1, 24, 2))[:]
    answer = Negative(classifier).explain(lesions.image)
    answer = explanation_of(answer.image, None, attribution=lesions.mask, source=answer.source, target=answer.target,
                            before=answer.posterior_before, after=answer.posterior_before)  # fmt: skip
    for kind in (Deletion, Insertion, PixelDeletion, ConfidenceDrop):
        by_map, at_random = (one(answer, lesions, classifier).mean() for one in kind.instances())
        assert by_map > at_random + 0.05 if kind.better == "higher" else by_map < at_random - 0.05


def test_a_constant_map_is_ranked_in_reading_order():
    answer = case(2)
    flat = explanation_of(answer.image, None, classes=CLASSES, attribution=torch.zeros_like(answer.image))
    for kind in (Deletion, Insertion, PixelDeletion, ConfidenceDrop):
        assert bool(torch.isfinite(kind()(flat, Sample(image=flat.image), CLASSIFIER)).all())
