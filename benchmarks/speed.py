"""Images explained per second: digits, batch 256, posteriors before and after included; both precisions in one run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

import obverse.data
from benchmarks.runner import RESULTS, hardware
from benchmarks.tables.syce_digits import TABLE
from benchmarks.training import train_classifier
from obverse.checkpoint import write_json
from obverse.explainer import Precision
from obverse.methods.syce import CyCE, SyCE
from obverse.runs import versions


def run(*, quick: bool) -> dict[str, Any]:
    """Measure SyCE and CyCE, interleaved, and the start of the command line; print and write results/speed.json."""
    splits = {name: obverse.data.open(TABLE.data, split=name) for name in ("train", "validation", "test")}
    classifier, _ = train_classifier(TABLE.classifier, splits["train"], splits["validation"], 0)
    image = splits["test"][slice(0, 256)].image  # weights do not change the time: untrained generators
    rounds, precisions = (2 if quick else 20), ("bf16", "float32")
    times: dict[str, list[float]] = {}
    for index in range(rounds + 2):
        for explainer in (SyCE(classifier), CyCE(classifier)):
            for precision in precisions:
                chosen: Precision = "bf16" if precision == "bf16" else "float32"
                began = time.perf_counter()
                explainer.explain(image, precision=chosen)
                if index >= 2:  # warmed up
                    times.setdefault(f"{explainer.name} {precision}", []).append(time.perf_counter() - began)
    result = {
        "table": "speed",
        "about": "Images explained per second, batch 256, 28 x 28, posteriors before and after included.",
        "images_per_second": {name: round(256 / statistics.median(seconds), 1) for name, seconds in times.items()},
        "fastest": {name: round(256 / min(seconds), 1) for name, seconds in times.items()},
        "rounds": rounds,
        "paper": {"SyCE, V100": 20, "CyCE, V100": 33},
        "start_seconds": {name: _start(code) for name, code in STARTS.items()},
        "versions": versions(),
        "hardware": hardware(),
    }
    if not quick:
        write_json(RESULTS / "speed.json", result)
    for part in ("images_per_second", "start_seconds"):
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
