"""The data set as an explainer sees it: every image's decision and answer, to sort and to filter by."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from obverse.app.state import Workbench
from obverse.explanation import Explanation

MOST_IMAGES = 480
BUDGET = 20.0  # seconds; a slow explainer answers fewer images
FIRST, BATCH = 4, 32
"""Images that are explained together: at first, to see how long one takes, and at most."""
SORTS = ("order of the data", "decision", "least confident first", "least valid first", "largest change first")
FILTERS = ("all", "wrong decisions", "answers that are not valid")


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """What is known of the first N images of the data set.

    Args:
        total: images in the data set.
        explanation: the answers without their maps and differences, N rows.
        label: (N,) or None.
        change: (N,) mean absolute change of a pixel, 0 where there is no counterfactual.
    """

    total: int
    explanation: Explanation
    label: Tensor | None
    change: Tensor

    def __len__(self) -> int:
        return len(self.explanation)

    @property
    def wrong(self) -> Tensor:
        """(N,) bool, where the classifier contradicts the label."""
        if self.label is None:
            return torch.zeros(len(self), dtype=torch.bool)
        return self.label != self.explanation.source

    @property
    def failed(self) -> Tensor:
        """(N,) bool, where the answer is not valid though something was asked."""
        made = self.explanation.counterfactual is not None
        return self.explanation.asked & ~self.explanation.valid & made

    def rows(self, sort: str, filtered: str) -> list[int]:
        """Return the rows to show, in order.

        Args:
            sort: one of SORTS.
            filtered: one of FILTERS.
        """
        answers, every = self.explanation, torch.arange(len(self))
        confidence = answers.posterior_before.amax(1)
        reached = answers.posterior_after.gather(1, answers.target[:, None])[:, 0]
        by = {
            SORTS[0]: every.float(), SORTS[1]: answers.source + (1 - confidence) / 2, SORTS[2]: confidence,
            SORTS[3]: reached, SORTS[4]: -self.change,
        }[sort]  # fmt: skip
        kept = {FILTERS[0]: torch.ones_like(every, dtype=torch.bool), FILTERS[1]: self.wrong, FILTERS[2]: self.failed}
        order = by.argsort(stable=True)
        return [int(row) for row in order[kept[filtered][order]]]


def survey(
    bench: Workbench, name: str, progress: Callable[[float, str], object] | None = None, target: int | None = None
) -> Survey:  # fmt: skip
    """Return what an explainer makes of the data set, once.

    Args:
        bench: explainers and images.
        name: of the explainer.
        target: index of the class asked for; None is the other one, or the runner-up.
        progress: told the share that is done, and what is done.
    """
    with bench.busy:
        kept = bench.surveys.get((name, target))
        if isinstance(kept, Survey):
            return kept
        explainer, began, most = bench.explainer(name), time.perf_counter(), min(MOST_IMAGES, len(bench.data))
        parts: list[Explanation] = []
        labels: list[Tensor] = []
        changes: list[Tensor] = []
        start, size = 0, FIRST
        while start < most and size > 0:
            if progress is not None:
                progress(start / most, f"explaining {most} images")
            sample = bench.data[slice(start, min(start + size, most))]
            answer = explainer.explain(sample.image, target).to("cpu")
            difference = answer.difference
            changes.append(torch.zeros(len(answer)) if difference is None else difference.abs().flatten(1).mean(1))
            parts.append(dataclasses.replace(answer, stable=None, difference=None, attribution=answer.attribution[..., :0, :0]))
            if sample.label is not None:
                labels.append(sample.label)
            start += len(answer)
            spent = time.perf_counter() - began
            size = min(BATCH, int((BUDGET - spent) / max(spent / start, 1e-9)))  # what there is time for
        whole = Explanation.cat(parts)
        found = Survey(total=len(bench.data), explanation=whole, label=torch.cat(labels) if labels else None,
                       change=torch.cat(changes))  # fmt: skip
        bench.surveys[name, target] = found
        return found


def first_rows(bench: Workbench, name: str, sort: str, filtered: str, most: int, target: int | None = None) -> list[int]:
    """Return the first rows that Data set shows; in the order of the data nothing has to be explained to know them."""
    if (sort, filtered) == (SORTS[0], FILTERS[0]):
        return list(range(min(most, len(bench.data))))
    return survey(bench, name, target=target).rows(sort, filtered)[:most]
