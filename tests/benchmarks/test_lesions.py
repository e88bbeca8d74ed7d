"""The lesions table: every row can be made, and the printed figures stand beside ours."""

import pytest
import torch
from torch import nn

from benchmarks.table import Training
from benchmarks.tables.lesions import TABLE
from obverse.classifier import Classifier
from obverse.methods import method
from obverse.metrics import metric
from obverse.settings import restore


@pytest.mark.parametrize("name", [name for name, row in TABLE.rows.items() if isinstance(row, Training)])
def test_every_row_can_be_made_with_its_settings(name):
    row = TABLE.rows[name]
    kind = method(row.method)
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4096, 2)), ["healthy", "diseased"], (1, 64, 64))
    explainer = kind(classifier, **restore(kind, dict(row.settings)))
    image = torch.rand(2, 1, 64, 64)
    assert explainer.explain(image).counterfactual.shape == image.shape
    assert row.batch_size % 2 == 0 and row.max_minutes <= 120  # of one core, an hour of two


def test_the_printed_figures_stand_beside_ours():
    labels = {one.label for name in TABLE.metrics for one in metric(name).instances()}
    printed = {(p.ours, p.metric): p.value() for p in TABLE.paper}
    assert len(printed) == 9
    for row, figure in printed:
        assert row in TABLE.rows and figure in labels
    assert printed["CX-GAN integrated", "IoU, attribution"] == pytest.approx(0.914)
    assert printed["CX-GAN cascaded", "Dice, attribution"] == pytest.approx(0.936)
    assert printed["VA-GAN", "NCC, attribution"] == 0.92
