"""Images explained per second: digits, posteriors before and after included; batches and precisions in one run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

import torch

import obverse.data
from benchmarks.runner import RESULTS, hardware
from obverse.checkpoint import write_json
from obverse.classification import ClassifierTraining
from obverse.explainer import Precision
from obverse.methods.c3lt import C3LT
from obverse.methods.syce import CyCE, SyCE
from obverse.metrics.cost import timed
from obverse.models.dcgan import DCGAN
from obverse.runs import versions


def run(*, quick: bool) -> dict[str, Any]:
    """Measure SyCE, CyCE and C3LT, interleaved, and the start of the command line; print and write results/speed.json.

    Where there is a GPU it is what is measured, without the starts, and the file is speed-gpu.json.
    """
    data = obverse.data.open("mnist:3,8", split="test")
    # weights do not change the time: all networks are untrained
    classifier = ClassifierTraining(classes=data.classes, image_shape=data.image_shape, architecture="LeNet").classifier()
    explainers = (SyCE(classifier), CyCE(classifier), C3LT(classifier, DCGAN(data.image_shape)))
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
        "start_seconds": {} if gpu else {name: _start(code) for name, code in STARTS.items()},
        "versions": versions(),
        "hardware": hardware(),
    }
    if not quick:
        write_json(RESULTS / ("speed-gpu.json" if gpu else "speed.json"), result)
    for part in ("images_per_second", "seconds_per_image", "start_seconds"):
        sys.stdout.write("\n".join(f"{name}: {value}" for name, value in result[part].items()) + "\n")  # type: ignore[attr-defined]
    return result


STARTS = {
    "import obverse": ["-c", "import obverse"],
    "obverse --help": ["-m", "obverse", "--help"],
    "obverse fit syce --help": ["-m", "obverse", "fit", "syce", "--help"],
}


def _start(arguments: list[str]) -> float:
    """Median seconds of a fresh process."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds), 3)
