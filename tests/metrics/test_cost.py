from dataclasses import dataclass

import pytest

from obverse.explainer import Answer, Query
from obverse.metrics.cost import PeakMemory, Seconds, affordable
from tiny import Negative, corner_classifier, corner_data


class Clock:
    """A clock that only slow methods move."""

    now = 0.0


@pytest.fixture(autouse=True)
def own_clock(monkeypatch):
    """Let the metric read the clock of this test; every look at it takes a nanosecond."""
    def look():
        Clock.now += 1e-9
        return Clock.now

    monkeypatch.setattr("obverse.metrics.cost.time.perf_counter", look)


@dataclass(eq=False, kw_only=True)
class Slow(Negative):
    """Takes 20 ms an image."""

    def answer(self, query: Query) -> Answer:
        Clock.now += 0.02 * len(query.image)  # a clock of its own: a busy machine must not fail the test
        return super().answer(query)


def test_seconds_of_a_method_whose_time_is_known():
    classifier, data = corner_classifier(), corner_data()
    first, each = Seconds(budget=0.2)(Slow(classifier), data, classifier)
    assert first.value == pytest.approx(0.02, rel=1e-3)
    assert each.value == pytest.approx(0.02, rel=1e-3)
    assert "batches of 6" in each.label  # a batch of 24 would take longer than the budget of 0.2 s
    assert each.n % 6 == 0 and each.better == "lower" and each.unit == "s"


def test_one_image_is_enough():
    classifier, data = corner_classifier(), corner_data().subset([0])
    first, each = Seconds(budget=0.1)(Negative(classifier), data, classifier)
    assert first.value > 0 and each.value > 0 and first.n == 1


def test_peak_memory_is_that_of_a_process_with_torch():
    classifier, data = corner_classifier(), corner_data()
    (row,) = PeakMemory()(Negative(classifier), data, classifier)
    assert 50 < row.value < 100_000
    assert "whole process" in row.note


def test_slow_methods_are_measured_on_fewer_images():
    image = corner_data()[:].image
    slow, quick = Slow(corner_classifier()), Negative(corner_classifier())
    assert 3 <= affordable(slow, image, 2, 0.25) <= 6
    assert affordable(slow, image, 2, 0.0) == 2
    assert affordable(quick, image, 2, 60.0) == 24
    assert affordable(slow, image[:1], 2, 0.0) == 1
