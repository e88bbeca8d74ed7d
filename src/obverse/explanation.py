"""The answer for a batch of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NotApplicable(ValueError):
    """A method was asked for something that it cannot do; the message names what can."""


SHORT = 0.05
"""By how much an answer may miss the posterior that was asked for before it is called short of it."""


def as_saved(image: Tensor) -> Tensor:
    """Return the image as an 8-bit file would keep it: clipped to [0, 1], 256 levels, float32."""
    return (image.float().clamp(0, 1) * 255).round() / 255


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What images would have to look like for the decision to be otherwise, one row an answer.

    Several answers to one query are several rows with the same `query`. An invalid answer is returned and
    marked, never hidden. Rows whose image was already decided as asked (`asked` False) belong in no figure.

    Args:
        method: the explainer's name.
        classes: names of the classifier's K classes.
        image: (N, C, H, W) in [0, 1], the query.
        source: (N,) int64, what the classifier decides for the image.
        target: (N,) int64, what it was asked to decide.
        counterfactual: (N, C, H, W) in [0, 1], as an 8-bit file would keep it; None for a method that makes none.
        stable: (N, C, H, W), the method's own reconstruction to compare with; None where there is none.
        attribution: (N, 1, H, W), >= 0, where the evidence is.
        difference: (N, C, H, W), counterfactual - (stable or image); None without counterfactual.
        query: (N,) int64, the row of the input that this row answers.
        posterior_before: (N, K) float32, of the image.
        posterior_after: (N, K) float32, of the counterfactual; of the image where there is none.
        requested: (N,) the posterior of `target` that was asked for, by `at` or by a method that searches for one; or None.
        residual: (N,) how badly the method represents the image, mean absolute error on [0, 1]; or None.
        represented: (N,) bool, False where the residual is above that of 9 in 10 validation images; None where unknown.
        valid: (N,) bool, the classifier decides the counterfactual as asked; of `at`, its posterior is on the side of one
            half that was asked for.
        asked: (N,) bool, source != target; of `at`, True.
        precision: "float32" or "bf16", in which the answer was computed.
        fingerprint: of the classifier that was explained.
        posterior_gap: (N,) how far the posterior of `source` is off on the method's own picture of the image; or None.
    """

    method: str
    classes: tuple[str, ...]
    image: Tensor
    source: Tensor
    target: Tensor
    counterfactual: Tensor | None
    stable: Tensor | None
    attribution: Tensor
    difference: Tensor | None
    query: Tensor
    posterior_before: Tensor
    posterior_after: Tensor
    requested: Tensor | None
    residual: Tensor | None
    valid: Tensor
    asked: Tensor
    precision: str
    fingerprint: str
    represented: Tensor | None = None
    posterior_gap: Tensor | None = None

    def __len__(self) -> int:
        return self.image.shape[0]

    def select(self, index: Tensor) -> Explanation:
        """Return the rows that `index` (integers or a boolean mask) names."""
        tensors = {k: v for k, v in self._values().items() if isinstance(v, Tensor)}
        return self._with({k: v[index.to(v.device)] for k, v in tensors.items()})

    def to(self, device: torch.device | str) -> Explanation:
        """Return the same explanation on `device`."""
        tensors = {k: v for k, v in self._values().items() if isinstance(v, Tensor)}
        return self._with({k: v.to(device) for k, v in tensors.items()})

    @staticmethod
    def cat(parts: Sequence[Explanation]) -> Explanation:
        """Join explanations of one method; `query` counts on from part to part."""
        joined: dict[str, Tensor] = {}
        for key, value in parts[0]._values().items():
            if isinstance(value, Tensor) and key != "query":
                joined[key] = torch.cat([getattr(part, key) for part in parts])
        query, offset = [], 0
        for part in parts:
            query.append(part.query + offset)
            offset += int(part.query.max()) + 1 if len(part) else 0
        return parts[0]._with({**joined, "query": torch.cat(query)})

    def words(self, row: int) -> str:
        """Say in one sentence how far the answer in `row` can be trusted."""
        target, source = self.classes[int(self.target[row])], self.classes[int(self.source[row])]
        before = float(self.posterior_before[row, self.target[row]])
        after = float(self.posterior_after[row, self.target[row]])
        if not bool(self.asked[row]):
            said = f"The image was already decided {target!r} ({before:.1%}); nothing had to change"
            made = self.counterfactual
            moved = made is not None and float((made[row] - self.image[row]).abs().max()) > 1 / 255  # more than rounding
            return f"{said}, and what {self.method} makes of it gets {after:.1%}." if moved else f"{said}."
        if self.counterfactual is None:
            return f"{self.method} shows where the evidence for {source!r} is; it makes no counterfactual."
        poor = ""
        if self.represented is not None and self.residual is not None and not bool(self.represented[row]):
            poor = (f" Poorly represented: {self.method}'s own picture of the image is off by "
                    f"{float(self.residual[row]):.3f}, more than for 9 in 10 validation images.")  # fmt: skip
        elif self.represented is None and self.residual is not None:  # nothing says how much is usual
            poor = f" {self.method}'s own picture of the image is off by {float(self.residual[row]):.3f} on average."
        if self.posterior_gap is not None and float(self.posterior_gap[row]) > 0.2:
            poor += (f" {self.method}'s own picture of the image is judged otherwise: the posterior of {source!r} is off by "
                     f"{float(self.posterior_gap[row]):.2f}.")  # fmt: skip
        if self.requested is not None:
            short = ", but short of it" if float(self.requested[row]) - after > SHORT else ""
            return (f"{f'Valid{short}' if bool(self.valid[row]) else 'Not valid'}: asked for {float(self.requested[row]):.1%} "
                    f"{target!r}, got {after:.1%} ({before:.1%} before).{poor}")  # fmt: skip
        if bool(self.valid[row]):
            return f"Valid: decided {target!r} instead of {source!r} ({before:.1%} before, {after:.1%} after).{poor}"
        return f"Not valid: still not decided {target!r} ({before:.1%} before, {after:.1%} after).{poor}"

    def show(self, *, most: int = 16) -> Figure:
        """Return a figure with one row an answer, which a notebook shows; see `obverse.figures` for others.

        Args:
            most: rows at most.

        Raises:
            ValueError: no answers.
        """
        from obverse.figures import sheet  # drawing is slow to import

        return sheet(self, most=most)

    def _with(self, tensors: dict[str, Tensor]) -> Explanation:
        return dataclasses.replace(self, **tensors)  # type: ignore[arg-type]

    def _values(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
