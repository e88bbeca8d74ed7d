"""The digits tables: every row can be made, and every printed figure stands beside one of ours."""

import pytest
import torch
from torch import nn

from benchmarks.tables import digits, ten_digits
from obverse.baselines import BASELINES, baseline
from obverse.classifier import Classifier
from obverse.explainer import LearnedExplainer
from obverse.methods import METHODS, method
from obverse.metrics import METRICS, metric
from obverse.settings import restore

ROWS = [(table, name, 2 if table is digits else 10) for table in (digits, ten_digits) for name in table.TABLE.rows]


@pytest.mark.parametrize(("table", "name", "classes"), ROWS, ids=[name for _, name, _ in ROWS])
def test_every_row_can_be_made_with_its_settings(table, name, classes):
    row = table.TABLE.rows[name]
    kind = baseline(row.method) if row.method in BASELINES else method(row.method)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, classes))
    explainer = kind(
        Classifier(network, [str(k) for k in range(classes)], (1, 28, 28)), **restore(kind, dict(row.settings))
    )
    assert isinstance(explainer, LearnedExplainer) and row.batch_size % classes == 0
    image = torch.rand(3, 1, 28, 28)
    assert explainer.explain(image, (explainer.classifier.decide(image) + 1) % classes).asked.all()
    assert row.method in METHODS or row.method in BASELINES


def test_the_metrics_are_known():
    for table in (digits, ten_digits):
        assert set(table.TABLE.metrics) <= set(METRICS)


def test_printed_figures_by_hand():
    printed = {(p.ours or p.row, p.metric, p.direction): p.value() for p in digits.TABLE.paper}
    labels = {one.label for name in digits.TABLE.metrics for one in metric(name).instances()}
    for row, figure, _ in printed:
        assert row in digits.TABLE.rows and (figure in labels or figure in digits.TABLE.metrics)
    assert printed["SyCE", "acc_a", "all"] == 0.015 and printed["SAGen", "acc_s", "all"] == 0.991
    assert printed["CyCE without classifier", "acc_a", "all"] == 0.954
    assert printed["CyCSAE", "Frechet distance, embedding", "3 -> 8"] == pytest.approx(1.22e-5)
    assert printed["SSyE", "Jensen-Shannon distance, embedding", "8 -> 3"] == 0.79
    assert len(printed) == 5 + 2 + 24
