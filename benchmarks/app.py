"""How fast the app is: slider, twenty clients that turn the knob, start, and the report of 50 images."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.runner import RESULTS, hardware
from obverse.app.state import BUNDLED, Workbench
from obverse.checkpoint import write_json
from obverse.classifier import Classifier
from obverse.methods.syce import CyCE
from obverse.networks.classifiers import ResNet
from obverse.runs import versions

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MOVES, CLIENTS, SECONDS = 100, 20, 60
MEASURE = """() => {
  const slider = document.querySelector('#explore input[type=range]'), picture = document.querySelector('#explore img.strip');
  window.took = [];
  slider.addEventListener('keydown', (event) => {
    const before = picture.style.objectPosition;
    requestAnimationFrame(() => requestAnimationFrame((now) => {
      if (picture.style.objectPosition !== before) window.took.push(now - event.timeStamp);
    }));
  });
  slider.focus();
}"""
"""From the key to the frame after the one in which the picture changed."""


def run(*, quick: bool) -> dict[str, Any]:
    """Measure all; print and write results/app.json."""
    moves, seconds = (10, 3) if quick else (MOVES, SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        runs = {size: untrained(Path(folder) / f"run{size}", size) for size in (28, 128)}
        result: dict[str, Any] = {
            "table": "app",
            "about": "Seconds, or milliseconds where it says so, in headless Chromium and over HTTP on one machine; "
            "processor seconds (user and system) beside those on the clock, which other programs lengthen: see the load.",
            "load_before": [round(value, 2) for value in os.getloadavg()],
            "start_to_first_page": [start() for _ in range(1 if quick else 3)],
            "slider_milliseconds": {f"{size} px": slider(runs[size], moves) for size in runs},
            "clients": clients(seconds),
            "report_of_50": {f"{size} px": report(path, Path(folder)) for size, path in {64: BUNDLED, **runs}.items()},
            "load_after": [round(value, 2) for value in os.getloadavg()],
            "versions": versions(),
            "hardware": hardware(),
        }
    if not quick:
        write_json(RESULTS / "app.json", result)
    for name, value in result.items():
        sys.stdout.write(f"{name}: {value}\n")
    return result


def untrained(folder: Path, size: int) -> Path:
    """Return a run folder whose networks are as they start: weights do not change the time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = ResNet((1, size, size), 2, width=8)
    classifier = Classifier(module, ["healthy", "diseased"], (1, size, size))
    CyCE(classifier, width=8, depth=2, residual=True, norm="none").save(folder / "best")
    classifier.save(folder / "classifier")
    data = {"data": "lesions", "data_dir": None, "size": size, "count": 100, "skip_corrupt": False}
    write_json(folder / "run.json", {"data": data, "view": {}})
    return folder


@contextlib.contextmanager
def served(*runs: Path) -> Iterator[str]:
    """Serve runs in a process of their own; the address."""
    command = [sys.executable, "-m", "obverse", "serve", *map(str, runs), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        try:
            said = serving.stdout.readline() if serving.stdout else ""
            yield said.split()[1]
        finally:
            serving.send_signal(signal.SIGINT)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Open a headless browser."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def start() -> dict[str, float]:
    """Return the seconds from the command to the first page, and the processor's until the server has stopped again."""
    began, used = time.perf_counter(), _processor(resource.RUSAGE_CHILDREN)
    with served() as address, urllib.request.urlopen(address, timeout=600) as page:
        page.read()
        seconds = time.perf_counter() - began
    return {"seconds": round(seconds, 2), "processor": round(_processor(resource.RUSAGE_CHILDREN) - used, 2)}


def _processor(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def slider(run: Path, moves: int) -> dict[str, float]:
    """Return median and 95th percentile of slider moves, and of whole new images, in a browser."""
    with served(run) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address, timeout=120_000)
        page.wait_for_selector("#explore article", timeout=120_000)
        page.wait_for_timeout(2000)
        page.evaluate(MEASURE)
        for move in range(moves):
            page.keyboard.press("ArrowLeft" if move % 40 < 20 else "ArrowRight")
            page.wait_for_timeout(50)
        took = page.evaluate("window.took")
        images = []
        for row in range(1, max(3, moves // 5)):
            began = time.perf_counter()
            page.get_by_role("button", name="Next").click()
            wanted = f"document.querySelector('#explore article header').innerText.includes('image {row}:')"
            page.wait_for_function(wanted, polling=10, timeout=120_000)
            images.append(1000 * (time.perf_counter() - began))
    return {**spread(took), "moves": len(took), "next image, median": round(statistics.median(images), 1)}


def clients(seconds: float) -> dict[str, Any]:
    """Return what clients that each turn the knob of an image of their own for a while see."""
    took: list[float] = []
    errors: list[str] = []

    def turn(address: str, image: int, until: float) -> None:
        draw = random.Random(image)
        while time.perf_counter() < until:
            began = time.perf_counter()
            try:
                body = json.dumps({"data": [BUNDLED.name, image, "", draw.random()]}).encode()
                asked = urllib.request.Request(
                    f"{address}/gradio_api/call/turn", body, {"Content-Type": "application/json"}
                )
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    event = json.load(answer)["event_id"]
                with urllib.request.urlopen(f"{address}/gradio_api/call/turn/{event}", timeout=60) as answer:
                    said = answer.read().decode()
                if "event: complete" not in said:
                    errors.append(said[:200])
            except OSError as error:
                errors.append(str(error))
            took.append(1000 * (time.perf_counter() - began))

    with served() as address:
        until = time.perf_counter() + seconds
        threads = [threading.Thread(target=turn, args=(address, image, until)) for image in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {"clients": CLIENTS, "seconds": seconds, "turns": len(took), "errors": len(errors), "first_errors": errors[:3],
            "milliseconds": spread(took)}  # fmt: skip


def report(run: Path, folder: Path) -> dict[str, float]:
    """Return the seconds and the size of a report of 50 images, and what it asks for when it is opened from disk."""
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))  # as `obverse serve` does
    bench = Workbench((run,))
    bench.answer(bench.names[0], bench.picture(0), None)
    began, used = time.perf_counter(), _processor(resource.RUSAGE_SELF)
    key = bench.report(bench.names[0], list(range(50)), None)
    took = {"seconds": time.perf_counter() - began, "processor": _processor(resource.RUSAGE_SELF) - used}
    path = folder / "report.html"
    path.write_text(bench.written[key][1], encoding="utf-8")
    asked: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri(), timeout=120_000)
        page.locator("article input[type=range]").first.fill("0")
        moved = "start" in page.locator("article output").first.inner_text()
        shown = page.locator("article").count()
    others = [url for url in asked if url != path.as_uri() and not url.startswith("data:")]
    return {**{name: round(value, 2) for name, value in took.items()}, "megabytes": round(path.stat().st_size / 1e6, 2),
            "images": shown, "requests beside the file": len(others), "slider works": moved}  # fmt: skip


def spread(took: Sequence[float]) -> dict[str, float]:
    """Return median, 95th percentile and largest."""
    ordered = sorted(took)
    return {"median": round(statistics.median(ordered), 1), "95 %": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
            "largest": round(ordered[-1], 1)}  # fmt: skip
