"""One contract for everything in METRICS."""

import dataclasses

import pytest
import torch

from obverse.metrics import METRICS, QUICK, instances, metric
from obverse.metrics.base import NEEDS, Context, ImageMetric, Probe, SetMetric
from obverse.metrics.judges import JudgeSettings
from tiny import Truth, corner_classifier, corner_data


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
    with pytest.raises(ValueError, match=r"metrics: expected some of validity, .*, got 'beauty'"):
        instances(["beauty"])
    with pytest.raises(TypeError, match="metrics: expected names or metrics, got 3"):
        instances([3])


@pytest.mark.parametrize("name", [n for n in METRICS if issubclass(metric(n), ImageMetric)])
def test_image_figures_are_in_range_and_do_not_depend_on_batch_mates(name, tmp_path):
    data, classifier = corner_data(12), corner_classifier()
    explainer = Truth(classifier, data)
    context = Context(
        explainer=explainer, data=data, validation=corner_data(12, seed=1), reference=data, judges=tmp_path,
        second_classifier=corner_classifier(0.55), recogniser=torch.nn.Flatten(),
    )  # fmt: skip
    explanation = explainer.explain(data[:].image)
    checked = 0
    for one in metric(name).instances():
        if context.missing(one.required, explanation):
            continue
        if hasattr(one, "settings"):
            one = dataclasses.replace(one, settings=JudgeSettings(latent=4, width=4, steps=2, batch_size=8))
        one = one.prepare(context)
        rows = one.applies(explanation, data[:])
        if not bool(rows.any()):
            continue
        checked += 1
        chosen, sample = explanation.select(rows), data[:].select(rows)
        values = one(chosen, sample, classifier)
        assert values.shape == (len(chosen),)
        assert bool(((values >= one.range[0]) & (values <= one.range[1])).all())
        order = torch.arange(len(chosen) - 1, -1, -1)
        assert torch.allclose(one(chosen.select(order), sample.select(order), classifier), values[order], atol=1e-5)
        single = torch.tensor([1])
        assert torch.allclose(one(chosen.select(single), sample.select(single), classifier), values[1:2], atol=1e-5)
    assert checked
