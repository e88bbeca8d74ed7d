"""Images explained per second: digits, posteriors before and after included; batches and precisions in one run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

import obverse.data
from benchmarks.runner import RESULTS, hardware
from obverse.baselines.controls import Identity
from obverse.checkpoint import write_json
from obverse.classification import ClassifierTraining
from obverse.explainer import Precision
from obverse.methods.c3lt import C3LT
from obverse.methods.syce import CyCE, SyCE
from obverse.metrics.cost import timed
from obverse.models.dcgan import DCGAN
from obverse.runs import versions


def run(*, quick: bool) -> dict[str, Any]:
    """Measure SyCE, CyCE, C3LT and the classifier alone, interleaved, a step of training with memory kept and without, and the
    start of the command line; print and write results/speed.json.

    Where there is a GPU it is what is measured, without training and starts, and the file is speed-gpu.json.
    """
    data = obverse.data.open("mnist:3,8", split="test")
    # weights do not change the time: all networks are untrained
    classifier = ClassifierTraining(classes=data.classes, image_shape=data.image_shape, architecture="LeNet").classifier()
    # identity leaves the image as it is: its time is that of the posteriors before and after
    explainers = (Identity(classifier), SyCE(classifier), CyCE(classifier), C3LT(classifier, DCGAN(data.image_shape)))
    gpu, rounds = torch.cuda.is_available(), 2 if quick else 20
    precisions: tuple[Precision, ...] = ("bf16", "float32")
    times: dict[str, list[float]] = {}
    for index in range(rounds + 2):
        for size in (256, 2048) if gpu else (256,):
            image = data[torch.arange(size) % len(data)].image.to(classifier.device)
            for explainer in explainers:
                for precision in precisions:
                    seconds = timed(explainer, image, precision)
                    if index >= 2:  # warmed up
                        times.setdefault(f"{explainer.name} {precision}, batch {size}", []).append(seconds / size)
    result = {
        "table": "speed",
        "about": "Images explained per second, 28 x 28, posteriors before and after included.",
        "images_per_second": {name: round(1 / statistics.median(seconds), 1) for name, seconds in times.items()},
        "seconds_per_image": {name: float(f"{statistics.median(seconds):.3g}") for name, seconds in times.items()},
        "fastest": {name: round(1 / min(seconds), 1) for name, seconds in times.items()},
        "rounds": rounds,
        "paper": {"images per second": {"SyCE, V100": 20, "CyCE, V100": 33}, "seconds per image": {"C3LT, RTX 2080 Ti": 9e-6}},
        "step_seconds": {} if gpu else _steps(2 if quick else 20),
        "start_seconds": {} if gpu else {name: _start(code) for name, code in STARTS.items()},
        "versions": versions(),
        "hardware": hardware(),
    }
    if not quick:
        write_json(RESULTS / ("speed-gpu.json" if gpu else "speed.json"), result)
    for part in ("images_per_second", "seconds_per_image", "step_seconds", "start_seconds"):
        sys.stdout.write("\n".join(f"{name}: {value}" for name, value in result[part].items()) + "\n")  # type: ignore[attr-defined]
    return result


STARTS = {
    "import obverse": ["-c", "import obverse"],
    "obverse --help": ["-m", "obverse", "--help"],
    "obverse fit syce --help": ["-m", "obverse", "fit", "syce", "--help"],
}


STEPS = """
import sys, time
import torch
import obverse.data
from obverse.classification import ClassifierTraining
from obverse.methods.c3lt import C3LT
from obverse.models.dcgan import DCGAN
from obverse.training import fit
data = obverse.data.open("mnist:3,8", split="test")
classifier = ClassifierTraining(classes=data.classes, image_shape=data.image_shape, architecture="LeNet").classifier()
def seconds(steps):
    explainer = C3LT(classifier, DCGAN(data.image_shape), domains="label")
    return fit(explainer, data, steps=steps, batch_size=128, validate_every=steps, average=0, progress=False).seconds
seconds(2)
print(seconds(int(sys.argv[1])) / int(sys.argv[1]))
"""
"""Prints how long a step of C3LT takes."""


def _steps(count: int) -> dict[str, float]:
    """Return seconds a step of training in fresh processes, in turns: memory kept (see `obverse.memory`), and left to glibc."""
    modes = {"memory kept": {}, "memory given back": {"GLIBC_TUNABLES": ""}}
    seconds: dict[str, list[float]] = {name: [] for name in modes}
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    for _ in range(3):
        for name, extra in modes.items():
            ran = subprocess.run([sys.executable, "-c", STEPS, str(count)], check=True, capture_output=True, text=True,
                                 env=plain | extra)  # fmt: skip
            seconds[name].append(float(ran.stdout))
    return {f"C3LT, batch 128, {name}": float(f"{statistics.median(s):.3g}") for name, s in seconds.items()}


def _start(arguments: list[str]) -> float:
    """Median seconds of a fresh process."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds), 3)
