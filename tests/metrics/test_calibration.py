import dataclasses
from dataclasses import dataclass

import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from obverse.data.base import MemoryDataset
from obverse.evaluation import evaluate
from obverse.explainer import Answer, Explainer, Query
from obverse.explanation import NotApplicable
from obverse.metrics.base import Context
from obverse.metrics.calibration import GeneratedAccuracy, GeneratedAuc, KnobCalibration
from tiny import Negative, corner_classifier, corner_data


@dataclass(eq=False, kw_only=True)
class Knob(Explainer):
    """Sets the corner so that the classifier's posterior is the one asked for; or ignores it."""

    obeys: bool = True
    name = "knob"
    needs_gradient = False
    has_knob = True

    def answer(self, query: Query) -> Answer:
        image = query.image.clone()
        if self.obeys and query.posterior is not None:
            level = 0.6 + torch.logit(query.posterior) / 16  # the classifier's logit is the corner's sum - 16 * 0.6
            image[:, :, :4, :4] = level.view(-1, 1, 1, 1)
        return Answer(counterfactual=image)


def measured(explainer, **arguments):
    data = corner_data()
    probe = KnobCalibration(**arguments).prepare(Context(explainer=explainer, data=data))
    return probe, probe(explainer, data, explainer.classifier)


def test_a_knob_that_obeys_is_calibrated():
    probe, (rank, error, rises, ends) = measured(Knob(corner_classifier()))
    assert rises.value == 1 and ends.value == 1
    assert rank.value == pytest.approx(1, abs=0.01) and error.value < 0.02  # 8 bits leave a little
    assert rank.n == 24 and error.low - 1e-6 <= error.value <= error.high + 1e-6
    (asked, obtained), *_ = probe.curves().values()
    assert asked == pytest.approx([0.05 + 0.1 * k for k in range(10)])
    assert obtained == pytest.approx(asked, abs=0.02)


def test_a_knob_that_does_nothing_has_no_correlation():
    _, (rank, error, rises, ends) = measured(Knob(corner_classifier(), obeys=False))
    assert rank.value == pytest.approx(0, abs=1e-9)
    assert rises.value == 1 and ends.value == 0  # never falls, and never crosses
    data, classifier = corner_data(), corner_classifier()
    posterior = classifier.posterior(data[:].image)[:, 1]
    asked = (torch.arange(10) + 0.5) / 10
    assert error.value == pytest.approx(float((posterior[:, None] - asked).abs().mean()), abs=1e-5)


@dataclass(eq=False, kw_only=True)
class Thin(Knob):
    """Knows nothing of posteriors from 0.2 to 0.4, where it gives 0.1; for every other image its top is 0.3."""

    @property
    def thin_posteriors(self):
        return ((0.2, 0.3), (0.3, 0.4))

    def answer(self, query: Query) -> Answer:
        asked = query.posterior
        if asked is None:  # a first explanation, to see how long one takes
            return super().answer(query)
        asked = torch.where((asked > 0.2) & (asked < 0.4), 0.1, asked)
        halves = query.image[:, 0, :4, :4].mean((1, 2)) > 0.6
        asked = torch.where((asked > 0.9) & halves, 0.3, asked)
        return super().answer(Query(**{**vars(query), "posterior": asked}))


def test_thin_bins_are_printed_apart_and_series_counted_by_hand():
    probe, rows = measured(Thin(corner_classifier()))
    found = {row.label.removeprefix("knob: "): row for row in rows}
    # half the images: 0.95 becomes 0.3; 16 of 20 errors are 0 but for 8 bits
    assert found["mean absolute error"].value == pytest.approx(0.5 * 0.65 / 8, abs=0.01)
    assert found["mean absolute error, thin bins"].value == pytest.approx((0.15 + 0.25) / 2, abs=0.01)
    assert found["mean absolute error, thin bins"].note == "at 0.25, 0.35"
    assert found["share of series that rise"].value == 0  # 0.15 is followed by 0.1
    assert found["share with both ends valid"].value == 0.5
    (asked, _), (thin, obtained) = probe.curves().values()
    assert len(asked) == 10 and thin == pytest.approx([0.25, 0.35]) and obtained == pytest.approx([0.1, 0.1], abs=0.02)


def test_slices_of_one_head_are_drawn_together():
    plain = corner_data()
    sample = plain[:]
    bright = sample.image[:, 0, :4, :4].mean((1, 2)) > 0.6
    data = MemoryDataset(dataclasses.replace(sample, group=bright.long() + 2 * (torch.arange(24) % 3 == 0).long()), plain.classes)
    explainer = Thin(corner_classifier())
    rows = [KnobCalibration().prepare(Context(explainer=explainer, data=one))(explainer, one, explainer.classifier)
            for one in (plain, data)]  # fmt: skip
    wide = [{row.label: row.high - row.low for row in found} for found in rows]
    for name in ("knob: mean absolute error", "knob: share with both ends valid", "knob: rank correlation"):
        assert wide[1][name] > 1.3 * wide[0][name], name  # an image's head decides how well it does


def test_rank_correlation_equals_scipy():
    from obverse.metrics.calibration import _rank_correlation

    asked, found = torch.linspace(0, 1, 5), torch.rand(7, 5)
    expected = spearmanr(asked.expand(7, 5).flatten(), found.flatten()).statistic
    assert _rank_correlation(found, asked) == pytest.approx(expected)
    assert _rank_correlation(torch.full((7, 5), 0.5), asked) == 0.0


def test_methods_without_a_knob_are_skipped():
    report = evaluate(Negative(corner_classifier()), corner_data(), metrics=["knob_calibration"])
    assert report.skipped["knob calibration"].startswith("knob: the method has no knob")
    report = evaluate(Knob(corner_classifier()), corner_data(), metrics=["knob_calibration"])
    labels = ("rank correlation", "mean absolute error", "share of series that rise", "share with both ends valid")
    assert [row.label for row in report.rows] == [f"knob: {label}" for label in labels]
    assert "knob: obtained over requested posterior" in report.curves


@pytest.mark.parametrize("classes", [2, 3])
def test_accuracy_and_auc_equal_scikit_learn(classes):
    generator = torch.Generator().manual_seed(0)
    posterior = torch.rand(60, classes, generator=generator).softmax(1)
    target = torch.randint(classes, (60,), generator=generator)
    found = GeneratedAccuracy().compute(posterior, 1 - target, target)
    assert found == pytest.approx(balanced_accuracy_score(target, posterior.argmax(1)))
    scores = posterior[:, 1] if classes == 2 else posterior
    expected = roc_auc_score(target, scores, multi_class="ovr")
    assert GeneratedAuc().compute(posterior, 1 - target, target) == pytest.approx(expected)


def test_one_class_has_an_accuracy_but_no_auc():
    posterior, target = torch.tensor([[0.2, 0.8], [0.6, 0.4]]), torch.tensor([1, 1])
    assert GeneratedAccuracy().compute(posterior, 1 - target, target) == 0.5
    with pytest.raises(NotApplicable, match="target: only one class was asked for"):
        GeneratedAuc().compute(posterior, 1 - target, target)
    report = evaluate(Negative(corner_classifier()), corner_data(), target="lesion", metrics=["generated_auc"])
    assert report.skipped["AUC on generated images"].startswith("target: only one class")
