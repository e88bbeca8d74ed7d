from dataclasses import dataclass

import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

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
    probe, (rank, error) = measured(Knob(corner_classifier()))
    assert rank.value == pytest.approx(1, abs=0.01) and error.value < 0.02  # 8 bits leave a little
    assert rank.n == 24 and error.low - 1e-6 <= error.value <= error.high + 1e-6
    (asked, obtained), *_ = probe.curves().values()
    assert asked == pytest.approx([0.05 + 0.1 * k for k in range(10)])
    assert obtained == pytest.approx(asked, abs=0.02)


def test_a_knob_that_does_nothing_has_no_correlation():
    _, (rank, error) = measured(Knob(corner_classifier(), obeys=False))
    assert rank.value == pytest.approx(0, abs=1e-9)
    data, classifier = corner_data(), corner_classifier()
    posterior = classifier.posterior(data[:].image)[:, 1]
    asked = (torch.arange(10) + 0.5) / 10
    assert error.value == pytest.approx(float((posterior[:, None] - asked).abs().mean()), abs=1e-5)


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
    assert [row.label for row in report.rows] == ["knob: rank correlation", "knob: mean absolute error"]
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
