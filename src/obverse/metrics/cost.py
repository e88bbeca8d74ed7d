"""What does it cost? Time and memory of an explanation."""

from __future__ import annotations

import dataclasses
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.explainer import Explainer, Precision
from obverse.memory import give_back
from obverse.metrics.base import Better, Context, Measured, Probe

QUESTION = "What does it cost?"


@dataclass(frozen=True)
class Seconds(Probe):
    """Seconds per explanation: the first one, the next one of a single image, and per image in batches.

    Args:
        batch_size: images at a time, at most.
        budget: seconds the measurement may take; slow methods are measured on smaller batches.
        precision: of the method's networks.
    """

    batch_size: int = 256
    budget: float = 20.0
    precision: Precision = "float32"

    name: ClassVar[str] = "seconds"
    title: ClassVar[str] = "seconds per explanation"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "s"
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    formula: ClassVar[str] = "wall time of explain, posteriors before and after included; median of up to 5 batches"
    source: ClassVar[str] = "C3LT table 4, SyCE supplement table 7 (protocol ours: the papers give none)"
    about: ClassVar[str] = (
        "The first explanation includes whatever the method and the machine do once; the second, of one image again, does "
        "not. Compares on one machine only; training is not included. Batches are smaller where a full one would not fit "
        "the time budget: their size is in the note."
    )

    def prepare(self, context: Context) -> Self:
        """Take the precision."""
        return dataclasses.replace(self, precision=context.precision)

    def __call__(self, explainer: Explainer, data: Dataset, classifier: Classifier) -> tuple[Measured, ...]:
        """Return the seconds of the first explanation, of one more of the same image, and per image in batches."""
        image = _asked(explainer, data[slice(0, min(self.batch_size, len(data)))].image.to(classifier.device))
        began = time.perf_counter()
        first = timed(explainer, image[:1], self.precision)
        again = timed(explainer, image[:1], self.precision)
        size = len(image)
        while size > 1 and again * size > self.budget:
            size //= 2
        if size > 1:
            timed(explainer, image[:size], self.precision)  # batches of a new size are slow once
        times = [again] if size == 1 and again > self.budget / 4 else []
        while len(times) < 5 and (not times or time.perf_counter() - began < self.budget / 2):
            times.append(timed(explainer, image[:size], self.precision))
        each = statistics.median(times) / size
        return (
            Measured(label="seconds, first explanation", value=first, n=1, unit="s", better="lower"),
            Measured(label="seconds, one image", value=again, n=1, unit="s", better="lower"),
            Measured(label="seconds per image", value=each, n=size * len(times), unit="s", better="lower",
                     note=f"batches of {size}, {1 / max(each, 1e-9):.4g} images per second"),
        )  # fmt: skip


def affordable(explainer: Explainer, image: Tensor, calls: int, budget: float) -> int:
    """Return how many of the images can be explained `calls` times each within `budget` seconds; at least 2, or all."""
    spent = timed(explainer, _asked(explainer, image)[:1]) * calls
    return max(min(len(image), 2), min(len(image), int(budget / max(spent, 1e-6))))


def asked_rows(explainer: Explainer, image: Tensor) -> Tensor:
    """Return the rows of the images that are not decided as the explainer, of itself, asks: those that get an answer."""
    _, posterior = explainer._before(image)
    return (posterior.argmax(1) != explainer._target(None, posterior)).nonzero().flatten()


def _asked(explainer: Explainer, image: Tensor) -> Tensor:
    """Return the images that get an answer, or all if none does: others cost nothing."""
    rows = asked_rows(explainer, image)
    return image[rows] if len(rows) else image


def timed(explainer: Explainer, image: Tensor, precision: Precision = "float32") -> float:
    """Return the seconds that one batch takes, the device's work included."""
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
    began = time.perf_counter()
    explainer.explain(image, precision=precision)
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
    return time.perf_counter() - began


@dataclass(frozen=True)
class PeakMemory(Probe):
    """The most memory that one batch of explanations takes.

    Args:
        batch_size: images at a time, at most.
        precision: of the method's networks.
    """

    batch_size: int = 16
    precision: Precision = "float32"

    name: ClassVar[str] = "peak_memory"
    title: ClassVar[str] = "peak memory"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "MiB"
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    formula: ClassVar[str] = "the device's peak during one batch, or on a CPU the process's"
    source: ClassVar[str] = "obverse"
    about: ClassVar[str] = (
        "On a CPU it is the peak of the whole process, data and libraries included: an upper bound. Linux counts it anew "
        "for the batch; elsewhere it is the peak since the process started."
    )

    def prepare(self, context: Context) -> Self:
        """Take the precision."""
        return dataclasses.replace(self, precision=context.precision)

    def __call__(self, explainer: Explainer, data: Dataset, classifier: Classifier) -> tuple[Measured, ...]:
        """Return the peak in MiB."""
        device, count = classifier.device, min(self.batch_size, len(data))
        image = data[slice(0, count)].image.to(device)
        if device.type != "cuda":
            peak = _peak_of(lambda: explainer.explain(image, precision=self.precision))
            note = "of the whole process so far" if peak is None else f"of the whole process, during a batch of {count}"
            value = process_peak() if peak is None else peak
            return (Measured(label="peak memory", value=value, n=1, unit="MiB", better="lower", note=note),)
        torch.cuda.reset_peak_memory_stats(device)
        explainer.explain(image, precision=self.precision)
        peak = torch.cuda.max_memory_allocated(device) / 2**20
        return (Measured(label="peak memory", value=peak, n=count, unit="MiB", better="lower",
                         note=f"on {device}, batches of {count}"),)  # fmt: skip


_forgotten = [0.0]
"""Peaks that the system was made to forget, in MiB."""


def _peak_of(call: Callable[[], object]) -> float | None:
    """Return the peak of this process during a call in MiB; None where only one since the start is known."""
    _forgotten.append(process_peak())
    give_back()  # what a training before has kept is not the batch's
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the peak so far
    except OSError:
        call()
        return None
    call()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 2**10


def process_peak() -> float:
    """Return the most memory this process has held, in MiB; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0.0
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(*_forgotten, peak / (2**20 if sys.platform == "darwin" else 2**10))
