"""The knob tables: every row's method, settings, parts and metrics are known, and the ablation changes one weight."""

import pytest
from torch import nn

from benchmarks.table import Training
from benchmarks.tables import TABLES, knob_ablation
from obverse.baselines import BASELINES, baseline
from obverse.classification import ClassifierTraining
from obverse.classifier import Classifier
from obverse.methods import method
from obverse.methods.exaggeration import Exaggeration
from obverse.metrics import METRICS
from obverse.settings import restore

TABLES = {name: table for name, table in TABLES.items() if name.startswith("knob-")}


@pytest.mark.parametrize("name", TABLES)
def test_methods_settings_and_metrics_are_known(name):
    table = TABLES[name]
    assert set(table.metrics) <= set(METRICS)
    restore(ClassifierTraining, dict(table.classifier.settings))
    for row in table.rows.values():
        kind = baseline(row.method) if row.method in BASELINES else method(row.method)
        restore(kind, dict(row.settings))
        assert issubclass(kind, Exaggeration) == isinstance(row, Training)


def test_there_is_one_for_each_data_set_and_an_hour_is_enough():
    assert {name: table.data for name, table in TABLES.items()} == {
        "knob-digits": "mnist:3,8", "knob-fashion": "fashion-mnist:4,6", "knob-brain": "brain-mri:tumour",
        "knob-ablation": "mnist:3,8",
    }  # fmt: skip
    rows = [(name, row) for name, table in TABLES.items() for row in table.rows.values() if isinstance(row, Training)]
    # of one core, an hour of two; the brain's is for the slowest machine at hand, half as fast as the one of its minutes
    assert all(row.max_minutes <= (200 if name == "knob-brain" else 120) for name, row in rows)


def test_each_row_of_the_ablation_changes_one_term():
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 2)), ["3", "8"], (1, 28, 28), device="cpu")
    whole, *others = (
        Exaggeration(classifier, **{"width": 2, "critic_width": 2} | dict(row.settings)).describe()["hyperparameters"]
        for row in knob_ablation.TABLE.rows.values()
    )
    changed = [[name for name, value in whole.items() if value != other[name]] for other in others]
    assert changed == [["adversarial"], ["adversarial"], ["divergence"], ["divergence"],
                       ["reconstruction", "cycle"], ["reconstruction", "cycle"]]  # fmt: skip
