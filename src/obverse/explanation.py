"""The answer for a batch of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class NotApplicable(ValueError):
    """A method was asked for something that it cannot do; the message names what can."""


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
        requested: (N,) the posterior of `target` that was asked for; None for methods without a knob.
        residual: (N,) how badly the method represents the image, mean absolute error on [0, 1]; or None.
        valid: (N,) bool, the classifier decides the counterfactual as asked.
        asked: (N,) bool, source != target.
        precision: "float32" or "bf16", in which the answer was computed.
        fingerprint: of the classifier that was explained.
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
            return f"The image was already decided {target!r} ({before:.1%}); nothing had to change."
        if self.counterfactual is None:
            return f"{self.method} shows where the evidence for {source!r} is; it makes no counterfactual."
        if bool(self.valid[row]):
            return f"Valid: decided {target!r} instead of {source!r} ({before:.1%} before, {after:.1%} after)."
        return f"Not valid: still not decided {target!r} ({before:.1%} before, {after:.1%} after)."

    def _with(self, tensors: dict[str, Tensor]) -> Explanation:
        return dataclasses.replace(self, **tensors)  # type: ignore[arg-type]

    def _values(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
