"""What must hold of every figure: bounds, the perfect and the null answer, batch size and order without influence."""

import dataclasses
import math
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.evaluation import evaluate
from obverse.explainer import Explainer
from obverse.generative import GenerativeModel
from obverse.metrics import METRICS, metric
from obverse.metrics.base import Context, ImageMetric, Metric, Probe, SetMetric
from obverse.metrics.judges import JudgeSettings
from tiny import SIZE, Nothing, Truth, corner_classifier, corner_data, explanation_of

TINY = JudgeSettings(latent=3, width=2, steps=2, batch_size=8)
COUNT = 120


class Columns(GenerativeModel):
    """Encodes an image to the means of its columns."""

    name = "columns"
    image_shape, latent_size, has_encoder = (1, SIZE, SIZE), SIZE, True

    def modules(self):
        return []

    def _decode(self, latent):
        return latent.view(-1, 1, 1, SIZE).expand(-1, 1, SIZE, SIZE)

    def _encode(self, image):
        return image.mean((1, 2))


@dataclass(eq=False, kw_only=True)
class Walk(Truth):
    """The truth, by a method that works on a generative model and has a knob."""

    model: GenerativeModel = field(default_factory=Columns, kw_only=False)
    has_knob = True


def attributes() -> Classifier:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIZE * SIZE, 3))
    torch.manual_seed(0)
    torch.nn.init.normal_(module[1].weight)
    return Classifier(module, ["hair", "hat", "smile"], (1, SIZE, SIZE), head="multilabel", device="cpu")


def instances(name: str) -> list[Metric]:
    """A metric's instances, with judges that are quick to train."""
    found = []
    for one in metric(name).instances():
        quick = {"settings": TINY} if hasattr(one, "settings") else {}
        found.append(dataclasses.replace(one, **quick))
    return found


def everything(tmp_path, explainer: Explainer, data) -> Context:
    return Context(
        explainer=explainer, data=data, validation=corner_data(12, seed=1), reference=corner_data(COUNT, seed=2),
        judges=tmp_path / "judges", second_classifier=corner_classifier(0.55), recogniser=torch.nn.Flatten(),
        attribute_classifier=attributes(),
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    """Intervals of set figures are not looked at here, and take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SetMetric, "resamples", 2)
        yield


@pytest.fixture(scope="module")
def about(tmp_path_factory) -> Context:
    data = corner_data(COUNT)
    return everything(tmp_path_factory.mktemp("judges"), Walk(corner_classifier(), data), data)


def drawn(seed: int, count: int = 5):
    """Answers to noise, some without change, some with maps that are constant, and masks, one of them empty."""
    generator = torch.Generator().manual_seed(seed)
    image, other, stable = torch.rand(3, count, 1, SIZE, SIZE, generator=generator)
    mask = (torch.rand(count, 1, SIZE, SIZE, generator=generator) < 0.2).float()
    maps = torch.rand(count, 1, SIZE, SIZE, generator=generator)
    other[0], maps[1], mask[2] = image[0], 0.5, 0.0
    classifier = corner_classifier(0.5, 0.05)
    before, after = classifier.posterior(image), classifier.posterior(other)
    source = before.argmax(1)
    answer = explanation_of(image, other, stable=stable, attribution=maps, source=source, target=1 - source, before=before,
                            after=after)  # fmt: skip
    sample = Sample(image=image, label=source, mask=mask, twin=torch.rand(count, 1, SIZE, SIZE, generator=generator))
    return answer, sample, classifier


@pytest.mark.parametrize("name", [n for n in METRICS if issubclass(metric(n), ImageMetric)])
def test_figures_of_images_are_bounded_finite_and_their_own(about, name):
    ready = [one.prepare(about) for one in instances(name)]

    @settings(deadline=None, max_examples=4)
    @given(st.integers(0, 10_000))
    def check(seed):
        answer, sample, classifier = drawn(seed)
        for one in ready:
            rows = one.applies(answer, sample)
            if not bool(rows.any()):
                continue
            chosen, known = answer.select(rows), sample.select(rows)
            values = one(chosen, known, classifier)
            assert values.shape == (len(chosen),) and bool(torch.isfinite(values).all())
            assert float(values.min()) >= one.range[0] - 1e-5 and float(values.max()) <= one.range[1] + 1e-5
            order = torch.arange(len(chosen)).flip(0)
            turned = one(chosen.select(order), known.select(order), classifier)
            assert torch.allclose(turned, values[order], atol=1e-4, rtol=1e-4)
            alone = torch.cat(
                [one(chosen.select(row), known.select(row), classifier) for row in order.flip(0)[:, None]]
            )
            assert torch.allclose(alone, values, atol=1e-4, rtol=1e-4)
            curve = one.curve(chosen, known, classifier)
            assert curve is None or (curve.shape[0] == len(chosen) and bool(torch.isfinite(curve).all()))

    check()


@pytest.mark.parametrize("name", [n for n in METRICS if issubclass(metric(n), SetMetric)])
def test_figures_of_sets_are_bounded_and_do_not_depend_on_the_order(about, name):
    answer, sample = about.explainer.explain(about.data[:].image), about.data[:]
    for one in [found.prepare(about) for found in instances(name) if not about.missing(found.required, answer)]:
        features = one.features(answer, sample, about.classifier)
        assert features.shape[0] == COUNT and features.shape[1] <= 2048 + 1
        value = one.compute(features, answer.source, answer.target)
        assert one.range[0] - 1e-6 <= value <= one.range[1] + 1e-6
        order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
        again = one.compute(features[order], answer.source[order], answer.target[order])
        assert again == pytest.approx(value, rel=1e-3, abs=1e-4)
        parts = [
            one.features(answer.select(rows), sample.select(rows), about.classifier)
            for rows in torch.arange(COUNT).split(7)
        ]
        assert torch.allclose(torch.cat(parts), features, atol=1e-4)


# What the true answer earns, and what doing nothing earns; None where the figure says nothing of either.
KNOWN = {
    "validity (Val)": (1, 0),
    "acc_a, decision kept": (0, 1),
    "acc_s, decision kept by the stable image": (1, None),
    "transfer to a second classifier": (1, None),
    "transfer acc_a, decision kept for a second classifier": (0, 1),
    "balanced accuracy on generated images": (1, 0),
    "AUC on generated images": (1, 0),
    "L1 on [0, 1]": (None, 0),
    "L1 on [-1, 1] (C3LT's scale)": (None, 0),
    "L2 on [0, 1]": (None, 0),
    "share of pixels changed": (16 / 144, 0),
    "SSIM": (None, 1),
    "SSIM, lesion removed": (1, 1),
    "non-resemblance, inside the lesion": (None, 0),
    "non-resemblance, outside the lesion": (0, 0),
    "non-resemblance, inside the lesion (as printed)": (None, 1),
    "non-resemblance, outside the lesion (as printed)": (1, 1),
    "IoU, attribution": (1, 0),
    "Dice, attribution": (1, 0),
    "Dice, attribution, half maximum": (1, 0),
    "average precision, attribution": (1, 16 / 144),
    "NCC, attribution": (None, 0),
    "pointing game, attribution": (1, 16 / 144),
    "distance to the true twin": (0, None),
    "correlation with the true difference": (1, 0),
    "residual lesion contrast": (0, 1),
    "same subject by the recogniser": (1, 1),
    "latent change, mean of a dimension": (None, 0),
    "attributes that flip": (None, 0),
    "share of the image in the map": (16 / 144, 0),
}
"""Some rows have only the lesions: they are where an answer is known."""


@pytest.mark.parametrize("label", KNOWN)
def test_the_perfect_and_the_null_answer_earn_what_they_must(reports, label):
    for report, expected in zip(reports, KNOWN[label]):
        if expected is not None:
            assert report.row(label).value == pytest.approx(expected, abs=2e-3)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    return [report_of(kind, tmp_path_factory.getbasetemp()) for kind in ("perfect", "null")]


@dataclass(eq=False, kw_only=True)
class Idle(Nothing):
    """Does nothing, on a generative model."""

    model: GenerativeModel = field(default_factory=Columns, kw_only=False)


def report_of(kind: str, folder, *, batch_size: int = 64, order: torch.Tensor | None = None):
    data = corner_data(COUNT)
    twins = dataclasses.replace(data.sample, twin=_twins(data.sample))
    data = type(data)(twins, data.classes, name="corners", split="test")
    explainer = Walk(corner_classifier(), data) if kind == "perfect" else Idle(corner_classifier())
    shown = data if order is None else data.subset(order)
    context = everything(folder, explainer, shown)
    metrics = [one for name in METRICS if not issubclass(metric(name), Probe) for one in instances(name)]
    return evaluate(
        explainer, shown, reference=context.reference, validation=context.validation, judges=context.judges,
        second_classifier=context.second_classifier, attribute_classifier=context.attribute_classifier,
        recogniser=context.recogniser, metrics=metrics, batch_size=batch_size, examples=2,
    )  # fmt: skip


def _twins(sample: Sample) -> torch.Tensor:
    """Lesions without their square; healthy images with one, so that every image has another twin."""
    twin = sample.twin.clone()
    twin[sample.label == 0, :, :4, :4] = 230
    return twin


@pytest.mark.parametrize(("batch_size", "turned"), [(7, False), (COUNT, False), (64, True)])
def test_streaming_equals_all_at_once_in_any_order(reports, tmp_path_factory, batch_size, turned):
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3)) if turned else None
    again = report_of("perfect", tmp_path_factory.getbasetemp(), batch_size=batch_size, order=order)
    assert not again.failures and again.failures == reports[0].failures
    rows = {(row.label, row.direction): row for row in again.rows}
    assert len(rows) == len(reports[0].rows) > 80
    for row in reports[0].rows:
        other = rows[row.label, row.direction]
        assert other.n == row.n
        assert other.value == pytest.approx(row.value, rel=2e-3, abs=2e-4), row.label
        for name, value in row.beside.items():
            assert other.beside[name] == pytest.approx(value, rel=2e-3, abs=2e-4), (row.label, name)


def test_no_figure_is_missing_from_these_properties(reports):
    seen = {row.metric for report in reports for row in report.rows}
    asked = {name for name in METRICS if not issubclass(metric(name), Probe)}
    assert asked - seen == set() and not reports[0].failures and not reports[1].failures


def test_mean_dice_never_exceeds_what_the_mean_iou_allows(reports):
    for report in reports:
        for row in report.rows:
            if row.metric == "iou":
                dice = report.row(row.label.replace("IoU", "Dice"), row.direction).value
                assert dice <= 2 * row.value / (1 + row.value) + 1e-6


@pytest.mark.parametrize("name", ["seconds", "peak_memory", "repeat_agreement"])
def test_probes_are_bounded(about, name):
    for one in instances(name):
        for row in one.prepare(about)(Nothing(about.classifier), about.data, about.classifier):
            assert math.isfinite(row.value) and row.n > 0
            assert row.low is None or row.low <= row.value <= row.high
