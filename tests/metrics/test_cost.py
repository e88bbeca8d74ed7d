from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from obverse.compare import compare
from obverse.evaluation import evaluate
from obverse.explainer import Answer, Query
from obverse.metrics.cost import PeakMemory, Seconds, affordable, process_peak
from tiny import Negative, corner_classifier, corner_data


class Clock:
    """A clock that only explanations move, so that a busy machine changes nothing."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("obverse.metrics.cost.time", made)
    return made


@dataclass(eq=False, kw_only=True)
class Slow(Negative):
    """Takes 20 ms an image, and a second more the first time."""

    clock: Clock
    used: bool = False

    def answer(self, query: Query) -> Answer:
        self.clock.now += 0.02 * len(query.image) + (0 if self.used else 1)
        self.used = True
        return super().answer(query)


def test_seconds_of_a_method_whose_time_is_known(clock):
    classifier, data = corner_classifier(), corner_data()
    first, one, each = Seconds(budget=0.2)(Slow(classifier, clock=clock), data, classifier)
    assert [row.label for row in (first, one, each)] == ["seconds, first explanation", "seconds, one image",
                                                         "seconds per image"]  # fmt: skip
    assert first.value == pytest.approx(1.02) and first.n == 1
    assert one.value == pytest.approx(0.02) and one.n == 1 and one.better == "lower" and one.unit == "s"
    assert each.value == pytest.approx(0.02)
    assert each.note == "batches of 6, 50 images per second"  # one of 24 or 12 would take longer than the budget of 0.2 s
    assert each.n == 6 and each.better == "lower" and each.unit == "s"


def test_one_image_is_enough(clock):
    classifier, data = corner_classifier(), corner_data().subset([0])
    first, one, each = Seconds(budget=4.0)(Slow(classifier, clock=clock), data, classifier)
    assert first.value == pytest.approx(1.02) and one.value == pytest.approx(0.02)
    assert each.value == pytest.approx(0.02) and each.n == 5


def test_batches_of_any_size_stand_on_one_line_of_a_comparison(clock):
    classifier, data = corner_classifier(), corner_data()
    quick, slow = (evaluate(Slow(classifier, clock=clock), data, metrics=["validity", Seconds(budget=budget)])
                   for budget in (60.0, 0.2))  # fmt: skip
    lines = [line for line in compare({"quick": quick, "slow": slow}).lines if line.metric == "seconds"]
    assert [line.label for line in lines] == ["seconds, first explanation", "seconds, one image", "seconds per image"]
    assert all(set(line.cells) == {"quick", "slow"} for line in lines)


def test_slow_methods_are_measured_on_fewer_images(clock):
    image, classifier = corner_data()[:].image, corner_classifier()
    slow = Slow(classifier, clock=clock, used=True)
    assert affordable(slow, image, 2, 0.25) == 6
    assert affordable(slow, image, 2, 0.0) == 2
    assert affordable(slow, image, 2, 60.0) == 24
    assert affordable(slow, image[:1], 2, 0.0) == 1


def test_peak_memory_is_that_of_a_process_with_torch():
    classifier, data = corner_classifier(), corner_data()
    (row,) = PeakMemory()(Negative(classifier), data, classifier)
    assert 50 < row.value < 100_000
    assert "whole process" in row.note


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
def test_what_the_process_held_before_does_not_count():
    classifier, data = corner_classifier(), corner_data()
    held = torch.ones(400 * 2**18)  # 400 MiB
    del held
    (row,) = PeakMemory()(Negative(classifier), data, classifier)
    assert row.value < process_peak() - 200 and row.note == "of the whole process, during a batch of 16"


def test_where_no_peak_can_be_forgotten_it_is_the_one_so_far(monkeypatch):
    monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(PermissionError("no")))
    classifier, data = corner_classifier(), corner_data()
    (row,) = PeakMemory()(Negative(classifier), data, classifier)
    assert row.value == pytest.approx(process_peak(), rel=0.05) and row.note == "of the whole process so far"
