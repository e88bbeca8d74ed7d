"""What the app works on: explainers of one classifier, its images, and the answers that were asked for already."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from obverse.baselines import BASELINES
from obverse.checkpoint import read_json
from obverse.data import match_labels, view_labels
from obverse.data.base import Dataset, MemoryDataset, Sample
from obverse.explainer import Explainer, LearnedExplainer
from obverse.explanation import Explanation, NotApplicable
from obverse.figures import common_scale
from obverse.methods import load
from obverse.metrics import QUICK
from obverse.opened import DataOptions, Opened, make_baseline
from obverse.report.base import Report
from obverse.report.cards import Card, card
from obverse.report.walk import Walk, walk

FRAMES = 21
MOST_KEPT = 300_000_000  # bytes of answers that are kept
MOST_REPORTS = 8  # that are kept
HOUR = 3600.0  # seconds that what is made of an upload is kept
MOST_EXAMPLES = 50  # in a report
SCORED = (*QUICK, "cout", "aupc_target", "aupc_source", "knob_calibration")
SELECTED = tuple(name for name in QUICK if name != "seconds")  # of a few images, for which no one should wait long
MOST_VALIDATION = 96  # images on which the app chooses thresholds
BUNDLED = Path(__file__).parent / "bundled" / "lesions"
"""The run that opens when none is named."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One image to explain.

    Args:
        name: for captions.
        sample: the image and what is known of it, one row.
        notes: what a reader must know of it.
        own: whether a user uploaded it.
    """

    name: str
    sample: Sample
    notes: tuple[str, ...] = ()
    own: bool = False

    @functools.cached_property
    def digest(self) -> str:
        """What tells it from other images."""
        return hashlib.sha256(self.sample.image.numpy().tobytes() + self.name.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """One explainer's answer to one image, with the way there.

    Args:
        key: names it in addresses; cannot be guessed.
        picture: the image.
        explanation: one row.
        walk: the way to the counterfactual; None for a method that makes none.
        seconds: how long the explanation took, without the way.
        born: when it was asked for, in seconds of a clock.
    """

    key: str
    picture: Picture
    explanation: Explanation
    walk: Walk | None
    seconds: float
    born: float = field(default_factory=time.monotonic)

    @functools.cached_property
    def card(self) -> Card:
        """What the page shows, with every frame of the way."""
        return card(self.explanation, 0, name=self.picture.name, scale=common_scale(self.explanation), walk=self.walk,
                    sample=self.picture.sample, notes=self.picture.notes)  # fmt: skip

    @property
    def size(self) -> int:
        """Bytes, about: the answer, and its frames twice."""
        tensors = [value for value in vars(self.explanation).values() if isinstance(value, Tensor)]
        frames = 0 if self.walk is None else 2 * self.walk.frames.numel()
        return 4 * (sum(value.numel() for value in tensors) + frames)


class Workbench:
    """Explainers of one classifier, its images, and the answers that were asked for already.

    Args:
        runs: run folders of trained explainers of one classifier.
        baselines: names of baselines beside them.
        reports: report files (JSON) to show beside those in the run folders.
        data: images to show; default those of the first run.
        data_dir: where the files of a named set are.

    Raises:
        FileNotFoundError: no such run.
        ValueError: explainers of different classifiers, the same name twice, or an unknown baseline.
    """

    def __init__(
        self, runs: Sequence[Path], *, baselines: Sequence[str] = (), reports: Sequence[Path] = (),
        data: str | None = None, data_dir: Path | None = None,
    ) -> None:  # fmt: skip
        self.runs = {folder.resolve().name: folder for folder in runs}
        if len(self.runs) < len(runs):
            raise ValueError("runs: expected folders with different names, got the same name twice; rename one")
        for name in baselines:
            if name not in BASELINES:
                raise ValueError(f"baseline: expected some of {', '.join(BASELINES)}, got {name!r}; choose from them")
        self._explainers: dict[str, Explainer] = {name: load(folder) for name, folder in self.runs.items()}
        self.names = [*self.runs, *(name for name in baselines if name not in self.runs)]
        self.first = next(iter(self._explainers.values()))
        self.classifier = self.first.classifier
        for name, other in self._explainers.items():
            if other.classifier.fingerprint != self.classifier.fingerprint:
                raise ValueError(f"runs: {name} explains another classifier than {self.names[0]}; serve one classifier's "
                                 "explainers at a time")  # fmt: skip
        facts = read_json(runs[0] / "run.json")["data"]
        own = DataOptions(**facts | {"data_dir": data_dir or facts["data_dir"]})
        self._source = own.of_others(data, self.classifier)
        self.data = self._split("test")
        self.reports = _reports(self.runs, reports)
        self.surveys: dict[tuple[str, int | None], object] = {}
        self.written: OrderedDict[str, tuple[str, str, float]] = OrderedDict()  # of an upload when, else for ever
        self._answers: OrderedDict[str, Answered] = OrderedDict()
        self._salt = secrets.token_hex(16)
        self.busy, self._kept = threading.RLock(), threading.Lock()  # explainers answer one question at a time

    # ------------------------------------------------------------------ images and explainers

    def picture(self, row: int) -> Picture:
        """Return an image of the data set."""
        sample = self.data[int(row)]
        name = f"image {row}" if sample.path is None else Path(sample.path[0]).name
        return Picture(name=name, sample=sample)

    def own(self, name: str, image: Tensor, notes: tuple[str, ...]) -> Picture:
        """Return an image of the user's, (1, C, H, W), of which nothing else is known."""
        return Picture(name=name, sample=Sample(image=image), notes=notes, own=True)

    def explainer(self, name: str) -> Explainer:
        """Return an explainer by its name; a baseline is made when it is first asked for.

        Raises:
            ValueError: an unknown name, or a baseline that this classifier does not allow.
        """
        if name not in self.names:
            raise ValueError(f"explainer: expected one of {', '.join(self.names)}, got {name!r}; choose one of them")
        with self.busy:
            if name not in self._explainers:
                self._explainers[name] = make_baseline(name, self._opened)
            return self._explainers[name]

    @functools.cached_property
    def train(self) -> Dataset:
        """The training images; read when a baseline or a report first needs them."""
        return self._split("train")

    @functools.cached_property
    def validation(self) -> Dataset:
        """The validation images; read when a report first needs them."""
        return self._split("validation")

    @functools.cached_property
    def _thresholds(self) -> Dataset:
        return self.validation.subset(range(min(MOST_VALIDATION, len(self.validation))))

    @functools.cached_property
    def _opened(self) -> Opened:
        if not isinstance(self.first, LearnedExplainer):
            raise TypeError(f"runs: expected trained explainers, got {self.first.name}")
        return Opened(self.first, self.data, self.train, self.validation, None)

    def _split(self, split: str) -> Dataset:
        data = self._source.open(split)
        return (view_labels if self.classifier.view else match_labels)(data, self.classifier.classes)

    # ------------------------------------------------------------------ answers

    def answer(self, name: str, picture: Picture, target: int | None) -> Answered:
        """Return an explainer's answer, from what is kept or anew.

        Args:
            name: of the explainer.
            picture: the image.
            target: index of the class; None is the other one, or the runner-up.

        Raises:
            ValueError: the explainer cannot answer; the text says why.
        """
        key = hashlib.sha256(f"{self._salt} {name} {picture.digest} {target}".encode()).hexdigest()[:32]
        found = self.find(key)
        if found is not None:
            return found
        explainer = self.explainer(name)
        with self.busy:
            found = self.find(key)
            if found is None:
                began = time.perf_counter()
                explanation = explainer.explain(picture.sample.image, target).to("cpu")
                seconds = time.perf_counter() - began
                found = Answered(key=key, picture=picture, explanation=explanation, walk=self._walk(explainer, explanation),
                                 seconds=seconds)  # fmt: skip
                self._keep(found)
        return found

    def find(self, key: str) -> Answered | None:
        """Return an answer that is kept, or None."""
        with self._kept:
            self._forget()
            if key in self._answers:
                self._answers.move_to_end(key)
            return self._answers.get(key)

    def wrote(self, key: str) -> tuple[str, str] | None:
        """Return the file name and the page of a report that is kept, or None."""
        with self._kept:
            self._forget()
            return self.written[key][:2] if key in self.written else None

    def _forget(self) -> None:
        """Drop what was made of uploads more than an hour ago."""
        long_ago = time.monotonic() - HOUR
        for key in [key for key, one in self._answers.items() if one.picture.own and one.born < long_ago]:
            del self._answers[key]
        for key in [key for key, (_, _, born) in self.written.items() if born < long_ago]:
            del self.written[key]

    def _walk(self, explainer: Explainer, explanation: Explanation) -> Walk | None:
        try:
            found = walk(explainer, explanation.to(self.classifier.device), frames=FRAMES)
        except NotApplicable:
            return None
        return Walk(frames=found.frames.cpu(), posterior=found.posterior.cpu(), asked=found.asked, kind=found.kind,
                    faded=found.faded)  # fmt: skip

    def _keep(self, answered: Answered) -> None:
        with self._kept:
            self._answers[answered.key] = answered
            while len(self._answers) > 1 and sum(one.size for one in self._answers.values()) > MOST_KEPT:
                self._answers.popitem(last=False)

    # ------------------------------------------------------------------ reports

    def evaluate(self, name: str, most: int = 200) -> Report:
        """Score an explainer on the first images of the data set, and keep the report for the page."""
        from obverse.evaluation import (
            evaluate,
        )  # statistics take a second to import, and the first page waits for this module

        explainer = self.explainer(name)
        with self.busy:
            self.reports[name] = evaluate(explainer, self.data.subset(range(min(most, len(self.data)))), progress=False,
                                          validation=self._thresholds, metrics=SCORED, examples=0)  # fmt: skip
        return self.reports[name]

    def selection(self, rows: Sequence[int], chosen: str = "") -> Dataset:
        """Return some images as a data set whose name and notes say that, and which, they are.

        Args:
            rows: images of the data set.
            chosen: how they were chosen.
        """
        names = [self.picture(row).name for row in rows]
        sample = dataclasses.replace(self.data[torch.as_tensor(rows)], path=tuple(names))
        how = f" ({chosen})" if chosen else ""
        notes = (f"a selection of {len(rows)} of {len(self.data)} images{how}: its figures are not those of all",
                 f"the images: {', '.join(names)}")  # fmt: skip
        count = f"{len(rows)} image{'s' if len(rows) != 1 else ''}"
        return MemoryDataset(sample, self.data.classes, name=f"{count} of {self.data.name}", split=self.data.split,
                             attribute_names=self.data.attribute_names, notes=(*self.data.notes, *notes))  # fmt: skip

    def report(self, name: str, rows: Sequence[int] | Picture, target: int | None, chosen: str = "") -> str:
        """Write the report of some images, and return the key under which its page is kept.

        Args:
            name: of the explainer.
            rows: images of the data set, at most 50 are taken; or one image.
            target: index of the class; None is the other one, or the runner-up.
            chosen: how the rows were chosen.

        Raises:
            ValueError: no rows.
        """
        from obverse.evaluation import evaluate
        from obverse.report.html import render

        if isinstance(rows, Picture):
            sample = dataclasses.replace(rows.sample, path=(rows.name,))
            data: Dataset = MemoryDataset(sample, self.classifier.classes, name=rows.name, notes=rows.notes)
        elif rows:
            data = self.selection(rows[:MOST_EXAMPLES], chosen)
        else:
            raise ValueError("report: expected at least one image, got none; choose another filter in Data set")
        explainer = self.explainer(name)
        with self.busy:
            report = evaluate(explainer, data, progress=False, validation=self._thresholds, metrics=SELECTED, target=target,
                              examples=MOST_EXAMPLES)  # fmt: skip
        key = secrets.token_hex(16)
        born = time.monotonic() if isinstance(rows, Picture) and rows.own else float("inf")
        page = render(report)
        with self._kept:
            self.written[key] = (f"obverse-{name}.html", page, born)
            while len(self.written) > MOST_REPORTS:
                self.written.popitem(last=False)
        return key

    def posterior(self, image: Tensor) -> Tensor:
        """Return (N, K) posteriors of images, on the CPU."""
        with self.busy, torch.no_grad():
            return self.classifier.posterior(image.to(self.classifier.device)).cpu()


def _reports(runs: dict[str, Path], files: Sequence[Path]) -> dict[str, Report]:
    """Return the reports that are there: those in run folders by run, the others by file."""
    found = {name: folder / "report.json" for name, folder in runs.items() if (folder / "report.json").exists()}
    for path in files:
        name = path.resolve().parent.name if path.stem == "report" else path.stem
        if name in found and found[name].resolve() != path.resolve():
            raise ValueError(f"reports: {path} and {found[name]} would both be {name!r}; rename one")
        found[name] = path
    return {name: Report.load(path) for name, path in found.items()}
