"""The pass over the data: explain, measure, keep figures and features only."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from obverse.data.base import Sample, check_fields
from obverse.explainer import Precision
from obverse.explanation import Explanation, NotApplicable
from obverse.metrics import ImageMetric, Metric, Probe, SetMetric
from obverse.metrics.base import Context
from obverse.progress import Progress
from obverse.report.base import Row
from obverse.report.examples import Examples
from obverse.report.summary import Answers

T = TypeVar("T")


class Store:
    """Rows that come batch by batch, in one block of memory that is there from the start.

    A small tensor kept a batch would lie between the large ones that come and go, and the C library's heap would grow
    with the number of batches.

    Args:
        most: how many rows there can be.
    """

    def __init__(self, most: int) -> None:
        self.most, self.count = most, 0
        self.block: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Append (N,) or (N, D)."""
        if self.block is None:
            self.block = torch.empty(self.most, *rows.shape[1:], dtype=rows.dtype)
        self.block[self.count : self.count + len(rows)] = rows
        self.count += len(rows)

    def all(self) -> Tensor:
        """Return what was appended."""
        return torch.zeros(0) if self.block is None else self.block[: self.count]


class Run:
    """One pass of a data set through an explainer and the metrics, and what is kept of it.

    Args:
        context: all that `evaluate` was given.
        metrics: what to compute.
        examples: which answers to keep whole.
    """

    def __init__(self, context: Context, metrics: list[Metric], examples: Examples) -> None:
        labels = [metric.label for metric in metrics]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"metrics: expected figures of different names, got {twice[0]!r} twice; evaluate one of them alone")
        self.context, self.metrics, self.examples = context, metrics, examples
        self.skipped: dict[str, str] = {}
        self.failures: dict[str, str] = {}
        self.probed: dict[str, list[Row]] = {}
        self.curves: dict[str, tuple[list[float], list[float]]] = {}
        self.curve_sums: dict[str, tuple[Tensor, int]] = {}
        self.values: dict[str, Store] = {}
        self.features: dict[str, Store] = {}
        self.facts: dict[str, Store] = {}
        self.most = 0
        self.counts = {"images": 0, "answers": 0, "that count": 0, "left out (already decided as asked)": 0}
        self.by_metric: dict[str, float] = {}
        self.times = {"explaining": 0.0, "measuring": 0.0, "probes": 0.0, "preparing": 0.0}
        self.accuracy: float | None = None
        self.right = self.judged = 0
        self.images = hashlib.sha256()  # of all images as 8-bit files would keep them, in their order
        self.began = time.perf_counter()
        self.fingerprint = context.classifier.fingerprint

    # ------------------------------------------------------------------ the three passes

    def probe(self) -> None:
        """Let the metrics that call the explainer themselves do so; the clock first, so that the first explanation is one."""
        for metric in sorted((m for m in self.metrics if isinstance(m, Probe)), key=lambda m: m.name != "seconds"):
            if self._lacks(metric, None):
                continue
            found = self._try(metric, "probes", partial(self._probe, metric))
            if found is not None:
                self.probed[metric.label] = found

    def _probe(self, metric: Probe) -> list[Row]:
        metric = metric.prepare(self.context)
        measured = metric(self.context.explainer, self.context.data, self.context.classifier)
        self.curves.update(metric.curves())
        return [Row(metric=metric.name, question=metric.question, direction="all", **dataclasses.asdict(one))
                for one in measured]  # fmt: skip

    def stream(self, answers: int, precision: Precision, *, progress: bool = False) -> None:
        """Explain batch by batch and take each metric's figures or features."""
        size = self.context.batch_size
        with Progress(0, math.ceil(len(self.context.data) / size), size, shown=progress) as bar:
            self._stream(answers, precision, bar)

    def _stream(self, answers: int, precision: Precision, bar: Progress) -> None:
        context, active, start, seed = self.context, None, 0, self.context.seed
        self.most = answers * len(context.data)
        for batch in context.data.batches(context.batch_size, context.classifier.device):
            check_fields(batch, len(context.data.classes))
            self.images.update((batch.image * 255).round().to(torch.uint8).cpu().contiguous().numpy().tobytes())
            began = time.perf_counter()
            explanation = context.explainer.explain(
                batch.image, context.target, answers=answers, seed=seed, precision=precision
            )
            self.times["explaining"] += time.perf_counter() - began
            self._check(explanation)
            if active is None:
                active = self._prepared(explanation)
            index = start + explanation.query
            start += len(batch)
            self.counts["images"] += len(batch)
            self.counts["answers"] += len(explanation)
            known = self._by_classifier(batch)
            if known.label is not None:  # of every image once, asked or not
                first = explanation.query.diff(prepend=explanation.query.new_tensor([-1])) != 0
                self.right += int((known.label == explanation.source[first]).sum())
                self.judged += len(batch)
            rows = explanation.asked.nonzero().flatten()
            self.counts["that count"] += len(rows)
            self.counts["left out (already decided as asked)"] += len(explanation) - len(rows)
            if len(rows):
                sample = known.select(explanation.query[rows])
                self._take(active, explanation.select(rows), sample, index[rows], answers, seed)
            seed += context.explainer.many_answers  # the images of a batch share their noise: each batch its own
            bar.advance({})

    def follow(self, answers: int) -> None:
        """Keep the ways to the examples' answers; a way belongs to the first answer, so only where there is one."""
        began = time.perf_counter()
        self.examples.arrange()
        if answers == 1:
            self.examples.follow(self.context.explainer)
        self.times["ways to the examples"] = time.perf_counter() - began

    def _take(
        self, active: list[Metric], explanation: Explanation, sample: Sample, index: Tensor, answers: int,
        seed: int,
    ) -> None:  # fmt: skip
        self.examples.add(explanation, sample, index, seed)
        group = sample.group if sample.group is not None else index if answers > 1 else None
        for name, value in (("image", index), ("source", explanation.source), ("target", explanation.target),
                            ("group", group)):  # fmt: skip
            if value is not None:
                self.facts.setdefault(name, Store(self.most)).add(value.cpu())
        shared: dict[str, Tensor] = {}
        for metric in list(active):
            if isinstance(metric, ImageMetric):
                values = self._try(metric, "measuring", partial(self._figures, metric, explanation, sample))
                store, key = self.values, metric.label
            elif isinstance(metric, SetMetric):
                key = metric.features_of
                if key in shared:
                    continue
                values = self._try(metric, "measuring", partial(self._features, metric, explanation, sample))
                store = self.features
            if values is None:
                active.remove(metric)
            else:
                shared[key] = values
                store.setdefault(key, Store(self.most)).add(values)

    def _figures(self, metric: ImageMetric, explanation: Explanation, sample: Sample) -> Tensor:
        """Return (N,) figures, NaN for the rows that have none."""
        applies = metric.applies(explanation, sample)
        whole = torch.full((len(explanation),), float("nan"))
        if not bool(applies.any()):
            return whole
        if not bool(applies.all()):
            explanation, sample = explanation.select(applies), sample.select(applies)
        with torch.no_grad():
            figures = metric(explanation, sample, self.context.classifier).float().cpu()
            curve = metric.curve(explanation, sample, self.context.classifier)
        if figures.shape != (len(explanation),) or not bool(torch.isfinite(figures).all()):
            wrong = int((~torch.isfinite(figures)).sum())
            raise ValueError(f"{metric.label}: expected {len(explanation)} finite figures, got shape "
                             f"{tuple(figures.shape)}, {wrong} not finite; mend the metric's __call__")  # fmt: skip
        if curve is not None:
            total, count = self.curve_sums.get(metric.label, (torch.zeros(curve.shape[1], dtype=torch.float64), 0))
            self.curve_sums[metric.label] = total.add_(curve.double().sum(0).cpu()), count + len(curve)
        whole[applies.cpu()] = figures
        return whole

    def _features(self, metric: SetMetric, explanation: Explanation, sample: Sample) -> Tensor:
        with torch.no_grad():
            found = metric.features(explanation, sample, self.context.classifier).float().cpu()
        if found.ndim != 2 or len(found) != len(explanation) or not bool(torch.isfinite(found).all()):
            raise ValueError(f"{metric.label}: expected {len(explanation)} rows of finite features, got shape "
                             f"{tuple(found.shape)}; mend the metric's features")  # fmt: skip
        return found

    # ------------------------------------------------------------------ what can go wrong

    def _prepared(self, explanation: Explanation) -> list[Metric]:
        """Return the metrics that have all they need, with their thresholds and references."""
        active: list[Metric] = []
        for metric in self.metrics:
            if isinstance(metric, Probe) or self._lacks(metric, explanation):
                continue
            ready = self._try(metric, "preparing", partial(metric.prepare, self.context))
            if ready is not None:
                active.append(ready)
        self.metrics = [next((a for a in active if a.label == m.label), m) for m in self.metrics]
        return active

    def _lacks(self, metric: Metric, explanation: Explanation | None) -> bool:
        reason = self.context.missing(metric.required, explanation)
        if reason:
            self.skipped[metric.label] = reason
        return bool(reason)

    def _try(self, metric: Metric, what: str, call: Callable[[], T]) -> T | None:
        """Return what `call` returns; None, and a note, if it cannot or fails."""
        began = time.perf_counter()
        try:
            return call()
        except NotApplicable as reason:
            self.skipped[metric.label] = str(reason)
        except Exception as error:  # one metric's failure must not lose the others
            self.failures[metric.label] = f"{type(error).__name__}: {error}"
        finally:
            spent = time.perf_counter() - began
            self.times[what] += spent
            self.by_metric[metric.label] = self.by_metric.get(metric.label, 0.0) + spent
        return None

    def _check(self, explanation: Explanation) -> None:
        if explanation.fingerprint != self.fingerprint:
            raise ValueError(f"explainer: its explanations are of another classifier (fingerprint "
                             f"{explanation.fingerprint[:12]}, expected {self.fingerprint[:12]}); bind it to the "
                             "classifier that is evaluated")  # fmt: skip

    def _by_classifier(self, sample: Sample) -> Sample:
        """Return the sample with labels as the classifier numbers its classes; without labels if it lacks one."""
        names, known = self.context.data.classes, self.context.classifier.classes
        if sample.label is None or names == known:
            return sample
        if not set(names) <= set(known):
            self.skipped["what needs labels"] = (
                f"the data's classes ({', '.join(names)}) are not the classifier's ({', '.join(known)}); open the data with "
                "obverse.data.view_labels or match_labels"
            )
            return dataclasses.replace(sample, label=None)
        table = torch.tensor([known.index(name) for name in names], device=sample.label.device)
        return dataclasses.replace(sample, label=table[sample.label])

    # ------------------------------------------------------------------ what was found

    def results(self) -> tuple[Answers, list[Row], dict[str, Tensor]]:
        """Return the answers that count, the rows of the report, and every answer's figures by label.

        Raises:
            ValueError: no answer counts.
        """
        if "image" not in self.facts:
            raise ValueError(f"target: all {self.counts['answers']} answers were left out, since the images were "
                             "already decided as asked; choose another target, or None")  # fmt: skip
        facts = {name: store.all() for name, store in self.facts.items()}
        answers = Answers(facts["image"], facts["source"], facts["target"], facts.get("group"),
                          self.context.classifier.classes, self.context.seed)  # fmt: skip
        values = {label: store.all() for label, store in self.values.items() if label not in self.failures}
        if self.judged:
            self.accuracy = self.right / self.judged
        rows = self._rows(answers, values)
        self.times["total"] = time.perf_counter() - self.began
        slow = sorted(self.by_metric.items(), key=lambda item: -item[1])[:10]
        self.times |= {f"of it: {label}": seconds for label, seconds in slow if seconds > 0.05 * self.times["total"]}
        return answers, rows, values

    def _rows(self, answers: Answers, values: dict[str, Tensor]) -> list[Row]:
        rows: list[Row] = []
        for metric in self.metrics:
            found: list[Row] | None = None
            label = metric.label
            if label in self.skipped or label in self.failures:
                continue
            if isinstance(metric, Probe):
                rows += self.probed[label]
                continue
            if isinstance(metric, ImageMetric):
                found = answers.rows_of_values(metric, values[label])
            elif isinstance(metric, SetMetric):
                features = self.features[metric.features_of].all()
                found = self._try(metric, "measuring", partial(answers.rows_of_features, metric, features))
            if label in self.curve_sums:
                total, count = self.curve_sums[label]
                self.curves[label] = (torch.linspace(0, 1, len(total)).tolist(), (total / count).tolist())
            rows += found or []
            if found == []:
                self.skipped[label] = "no answer that it applies to"
        return rows
