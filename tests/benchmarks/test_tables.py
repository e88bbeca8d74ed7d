"""Every declared table: its rows can be made, its figures exist, and what is printed beside them is in the papers."""

import dataclasses

import pytest

from benchmarks.table import Table, Training, Untrained
from benchmarks.tables import TABLES
from obverse.baselines import BASELINES, baseline
from obverse.explainer import LearnedExplainer
from obverse.methods import method
from obverse.metrics import METRICS, metric
from obverse.models import model
from obverse.settings import restore

FILLED = {"classifier", "reference", "explainer", "autoencoder"}
"""The parts that a row without a generative model gets."""


def kind_of(row):
    return baseline(row.method) if row.method in BASELINES else method(row.method)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_rows_can_be_made(table: Table):
    for name, row in table.rows.items():
        kind = kind_of(row)
        assert issubclass(kind, LearnedExplainer) == isinstance(row, Training), name
        assert set(restore(kind, dict(row.settings))) == set(row.settings), name
        parts = {
            f.name for f in dataclasses.fields(kind) if f.init and not f.kw_only and f.default is dataclasses.MISSING
        }
        assert parts <= FILLED or row.model is not None, name
        if isinstance(row, Untrained):
            assert not row.preset or callable(getattr(kind, row.preset))
            assert not row.explainer or row.explainer in table.rows, name
        if row.model is not None:
            restore(model(row.model.method), dict(row.model.settings))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_printed_figures_stand_beside_ours(table: Table):
    labels = {one.label for name in METRICS for one in metric(name).instances()} | set(METRICS)
    assert set(table.metrics) <= set(METRICS)
    for paper in table.paper:
        assert isinstance(paper.value(), float)
        assert (paper.ours or paper.row) in table.rows, paper
        assert paper.metric in labels or paper.metric.startswith(("seconds", "knob")), paper


def test_names_are_those_on_the_command_line():
    assert all(name == table.name for name, table in TABLES.items())
