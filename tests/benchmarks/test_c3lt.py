"""The C3LT tables: rows, settings, metrics and printed figures are known, and each ablation switches off what it says."""

import dataclasses

import pytest
import torch
from torch import nn

from benchmarks.runner import of_classes
from benchmarks.table import Training
from benchmarks.tables import TABLES, c3lt_ablation, c3lt_cyclegan, c3lt_fashion, c3lt_mnist, c3lt_rigged
from benchmarks.training import Workshop, weights
from obverse.baselines import BASELINES, baseline
from obverse.checkpoint import read_json, write_json
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.methods import method
from obverse.methods.c3lt import C3LT
from obverse.metrics import METRICS, metric
from obverse.models import model
from obverse.settings import restore
from tiny_core import bright_classifier, bright_data

MINE = [table for name, table in TABLES.items() if name.startswith("c3lt-")]


def test_there_is_one_for_each_pair_of_the_paper():
    assert [table.name for table in MINE] == [
        "c3lt-mnist-38", "c3lt-mnist-49", "c3lt-mnist-56", "c3lt-fashion-02", "c3lt-fashion-46", "c3lt-fashion-79",
        "c3lt-ablation-38", "c3lt-ablation-49", "c3lt-ablation-56", "c3lt-rigged", "c3lt-cyclegan-49",
        "c3lt-cyclegan-14",
    ]  # fmt: skip
    assert {table.data for table in MINE} >= {"mnist:4,9", "fashion-mnist:7,9", "mnist"}


@pytest.mark.parametrize("table", MINE, ids=lambda table: table.name)
def test_settings_metrics_and_printed_figures_are_known(table):
    labels = {one.label for name in table.metrics for one in metric(name).instances()}
    assert set(table.metrics) <= set(METRICS)
    for row in table.rows.values():
        kind = baseline(row.method) if row.method in BASELINES else method(row.method)
        restore(kind, dict(row.settings))
        restore(kind, dict(getattr(row, "after", None) or {}))
        if row.model is not None:
            restore(model(row.model.method), dict(row.model.settings))
        assert not isinstance(row, Training) or (row.max_minutes <= 60 and row.batch_size % 4 == 0)
    for paper in table.paper:
        assert (paper.ours or paper.row) in table.rows, paper
        assert paper.metric in labels or paper.metric in METRICS, paper
        paper.value()


def test_printed_figures_by_hand():
    printed = {(p.ours or p.row, p.metric): p.value() for p in c3lt_mnist.TABLES[1].paper}
    assert printed["C3LT", "COUT"] == 0.948
    assert printed["C3LT", "L1 on [-1, 1] (C3LT's scale)"] == 0.072
    assert printed["ExplainGAN", "validity (Val)"] == 0.997 and printed["CVE", "COUT, after each edit"] == -0.557
    assert printed["ExplainGAN", "COUT, by the method's own mask"] == 0.927 and ("ExplainGAN", "COUT") not in printed
    assert printed["real images", "IM2, real images (floor)"] == pytest.approx(0.029)
    beside = {(p.row, p.metric): p.value() for p in c3lt_cyclegan.TABLES[0].paper}
    assert beside["CycleGAN", "COUT"] == 0.894 and beside["C3LT", "validity (Val)"] == 0.999
    added = {(p.row, p.metric): p.value() for p in c3lt_ablation.TABLES[0].paper}
    assert added["cls", "COUT"] == 0.897 and added["cls+prox+cyc", "IM2"] == pytest.approx(0.038)


def test_each_row_of_the_ablation_adds_one_term():
    weights = ("classification", "proximity", "cycle", "adversarial", "population")
    defaults = {field.name: field.default for field in dataclasses.fields(C3LT)}
    for table in c3lt_ablation.TABLES:
        on = [[name for name in weights if (defaults | dict(row.settings))[name]] for row in table.rows.values()]
        assert on == [list(weights[:count]) for count in (1, 2, 3, 4, 5, 5)]
        assert [row.settings.get("own_pixels") for row in table.rows.values()] == [0, 0, 0, 0, 0, None]
        assert len({(row.steps, row.batch_size, row.max_minutes) for row in table.rows.values()}) == 1  # nothing else differs


@pytest.mark.parametrize("table", [*c3lt_mnist.TABLES, *c3lt_fashion.TABLES], ids=lambda table: table.name)
def test_a_pair_is_measured_with_the_defaults_and_with_the_published_settings(table):
    assert dict(table.rows["C3LT"].settings) == {} == dict(table.rows["C3LT, 10 minutes"].settings)
    assert dict(table.rows["C3LT, 10 minutes, as published"].settings) == C3LT.preset_settings("published")


TINY = Training(method="syce", settings={"width": 4, "critic_width": 3, "critic_levels": 2}, steps=1, batch_size=4,
                validate_every=1)  # fmt: skip


def tiny_workshop(folder, monkeypatch, **rows):
    monkeypatch.setenv("OBVERSE_BENCHMARKS", str(folder))
    data = bright_data(16)
    data.name, data.split = "bright", "train"
    return Workshop(rows, bright_classifier(), {"train": data, "validation": data})


def test_a_refined_row_and_one_of_few_images_are_trained_like_the_plain_one(tmp_path, monkeypatch):
    monkeypatch.setattr(method(TINY.method), "adjustable", ("cycle",))
    later = dataclasses.replace(TINY, after={"cycle": 7.0})
    few = dataclasses.replace(TINY, test_count=3)
    workshop = tiny_workshop(tmp_path, monkeypatch, plain=TINY, later=later, few=few)
    (one, _), (other, _), (third, _) = (workshop.make(name, 0) for name in ("plain", "later", "few"))
    assert (one.cycle, other.cycle) == (2.0, 7.0) and weights(one) == weights(other) == weights(third)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_that_is_done_is_not_taken_for_one_of_another_default(tmp_path, monkeypatch):
    workshop = tiny_workshop(tmp_path, monkeypatch, row=TINY)
    workshop.make("row", 0)
    (folder,) = tmp_path.iterdir()
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"what": {"method": "syce", "hyperparameters": {"cycle": 2.0}}})
    workshop.make("row", 0)  # what has come since counts for nothing
    write_json(folder / "config.json", config | {"what": {"method": "syce", "hyperparameters": {"cycle": 3.0}}})
    with pytest.raises(ValueError, match=r"was trained with cycle 3.0 \(now 2.0\); delete the folder to train anew, or name"):
        workshop.make("row", 0)


def test_the_rigged_rows_can_be_made():
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    classifier = Classifier(network, [str(k) for k in range(10)], (1, 28, 28))
    gan = model("gan")((1, 28, 28), width=2)
    for name, target in (("4 to 9", 9), ("4 to 1", 1)):
        explainer = C3LT(classifier, gan, **restore(C3LT, dict(c3lt_rigged.TABLE.rows[name].settings)))
        assert explainer.domains == "label" and set(explainer.ways) == {(4, target), (target, 4)}


def test_images_of_some_classes():
    data = MemoryDataset(Sample(image=torch.rand(6, 1, 4, 4), label=torch.tensor([0, 1, 2, 2, 1, 0])), ["a", "b", "c"])
    assert of_classes(data, ["c", "a"]).labels().tolist() == [0, 2, 2, 0]
    assert of_classes(data, ["b"]).classes == data.classes
    with pytest.raises(ValueError, match="unseen, test_classes: expected some of a, b, c on labelled images, got b, 9"):
        of_classes(data, ["b", "9"])
