"""One contract for everything in METRICS."""

import dataclasses

import pytest

from obverse.metrics import METRICS, QUICK, instances, metric
from obverse.metrics.base import NEEDS, ImageMetric, Probe, SetMetric


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name):
    kind = metric(name)
    assert kind.name == name and issubclass(kind, (ImageMetric, SetMetric, Probe))
    assert dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen
    assert kind.better in ("higher", "lower", "none") and kind.range[0] < kind.range[1]
    for text in (kind.title, kind.question, kind.formula, kind.source, kind.about):
        assert len(text) > 2
    assert kind.needs <= NEEDS.keys()
    labels = [one.label for one in kind.instances()]
    assert len(set(labels)) == len(labels)
    assert all(one.required <= NEEDS.keys() for one in kind.instances())


def test_labels_are_unique():
    labels = [one.label for one in instances(None)]
    assert len(set(labels)) == len(labels)


def test_the_quick_ones_are_a_part():
    assert set(QUICK) < set(METRICS) and len(set(QUICK)) == len(QUICK)


def test_unknown_metrics_are_refused():
    with pytest.raises(ValueError, match=r"metrics: expected one of validity, .*, got 'beauty'"):
        instances(["beauty"])
    with pytest.raises(TypeError, match="metrics: expected names or metrics, got 3"):
        instances([3])
