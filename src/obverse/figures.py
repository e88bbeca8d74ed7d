"""Pictures of explanations: pixels, overlays, and figures that matplotlib draws and notebooks show."""

from __future__ import annotations

import functools
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from obverse.explanation import Explanation

MORE, LESS, EVIDENCE = (0.90, 0.38, 0.0), (0.10, 0.35, 0.85), (0.75, 0.0, 0.45)
"""Colours of pixels that got brighter, that got darker, and of evidence; told apart by the colour-blind."""
Pixels = NDArray[np.uint8]


def pixels(image: Tensor) -> Pixels:
    """Return one (C, H, W) image in [0, 1] as (H, W, 3) uint8; two or more than three channels show their mean."""
    if image.shape[0] not in (1, 3):
        image = image.mean(0, keepdim=True)
    levels = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    shown: Pixels = levels.expand(3, -1, -1).permute(1, 2, 0).numpy()
    return shown


def common_scale(*explanations: Explanation) -> float:
    """Return the change that overlays draw in full colour: exceeded by 0.5 % of all pixels that change."""
    changes = [one.difference.mean(1).abs().flatten() for one in explanations if one.difference is not None]
    change = torch.cat([part.cpu()[part.cpu() > 0.5 / 255] for part in changes]) if changes else torch.zeros(0)
    return float(np.quantile(change.numpy(), 0.995)) if len(change) else 1.0


def overlay(image: Tensor, difference: Tensor, scale: float) -> Pixels:
    """Return the signed difference in colour on the dimmed grey image.

    Args:
        image: (C, H, W) in [0, 1].
        difference: (C, H, W); its mean over channels is drawn, orange where brighter and blue where darker.
        scale: the change that gets full colour.

    Returns:
        Pixels: (H, W, 3) uint8.
    """
    change = (difference.detach().float().cpu().mean(0) / max(scale, 1e-8)).clamp(-1, 1)
    return _blend(image, change.abs(), torch.where(change[..., None] > 0, torch.tensor(MORE), torch.tensor(LESS)))


def heat(image: Tensor, attribution: Tensor) -> Pixels:
    """Return the attribution (1, H, W), scaled to its own maximum, in colour on the dimmed grey image."""
    strength = attribution.detach().float().cpu().amax(0)
    strength = (strength / strength.max().clamp_min(1e-8)).clamp(0, 1)
    return _blend(image, strength, torch.tensor(EVIDENCE).expand(*strength.shape, 3))


def outline(image: Tensor, mask: Tensor) -> Pixels:
    """Return the image with the mask (1, H, W) drawn over it in green."""
    inside = mask.detach().float().cpu().amax(0)
    return _blend(image, 0.6 * inside, torch.tensor((0.0, 0.55, 0.3)).expand(*inside.shape, 3), dim=1.0)


def _blend(image: Tensor, strength: Tensor, colour: Tensor, *, dim: float = 0.65) -> Pixels:
    grey = 1 - dim * (1 - image.detach().float().cpu().mean(0).clamp(0, 1))[..., None]
    mixed = grey * (1 - strength[..., None]) + colour * strength[..., None]
    drawn: Pixels = (mixed.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return drawn


def png(picture: Pixels) -> bytes:
    """Return the picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def panels(explanation: Explanation, row: int, scale: float) -> list[tuple[str, Pixels]]:
    """Return the pictures of one answer with their names, in the order they are read."""
    image = explanation.image[row]
    shown = [("image", pixels(image))]
    if explanation.stable is not None:
        shown.append(("stable", pixels(explanation.stable[row])))
    if explanation.counterfactual is not None:
        shown.append(("counterfactual", pixels(explanation.counterfactual[row])))
    if explanation.difference is not None:
        start = image if explanation.stable is None else explanation.stable[row]
        shown.append(("what changed", overlay(start, explanation.difference[row], scale)))
    return [*shown, ("attribution", heat(image, explanation.attribution[row]))]


def sheet(explanation: Explanation, *, most: int = 16) -> Figure:
    """Return a figure with one row an answer: image, stable image, counterfactual, change, attribution, decision.

    Args:
        explanation: the answers; the first `most` are drawn.
        most: rows at most.

    Raises:
        ValueError: no answers.
    """
    count = _some(min(len(explanation), most))
    scale = common_scale(explanation)
    rows = [panels(explanation, row, scale) for row in range(count)]
    columns, cell = len(rows[0]), 1.9
    figure = _figure(cell * columns + 2.6, cell * count + 0.75)
    axes = figure.subplots(count, columns + 1, squeeze=False, width_ratios=[1.0] * columns + [1.25])
    for row, shown in enumerate(rows):
        for column, (name, picture) in enumerate(shown):
            _picture(axes[row, column], picture, name if row == 0 else "")
        _words(axes[row, columns], explanation, row)
    figure.suptitle(f"{explanation.method}   {_legend(scale, explanation)}", fontsize=10, x=0.01, ha="left")
    return figure


def overlays(explanations: Sequence[Explanation], *, row: int = 0) -> Figure:
    """Return one image as several explainers change it, one row an explainer, the changes on a common scale.

    Args:
        explanations: of the same images by different explainers.
        row: which image.

    Raises:
        ValueError: no explanations.
    """
    _some(len(explanations))
    scale, parts = common_scale(*explanations), [one.select(torch.tensor([row])) for one in explanations]
    rows = [panels(part, 0, scale) for part in parts]
    names = [name for name in ("image", "counterfactual", "what changed", "attribution")
             if any(name == shown for drawn in rows for shown, _ in drawn)]  # fmt: skip
    figure = _figure(1.9 * len(names) + 2.6, 1.9 * len(rows) + 0.75)
    axes = figure.subplots(len(rows), len(names) + 1, squeeze=False, width_ratios=[1.0] * len(names) + [1.25])
    for line, (part, drawn) in enumerate(zip(parts, rows, strict=True)):
        shown = dict(drawn)
        for column, name in enumerate(names):
            if name in shown:
                _picture(axes[line, column], shown[name], name if line == 0 else "")
            else:
                axes[line, column].axis("off")
        _words(axes[line, -1], part, 0, part.method)
    figure.suptitle(_legend(scale, *explanations), fontsize=10, x=0.01, ha="left")
    return figure


def knob_strip(frames: Tensor, posterior: Tensor, *, of: str, asked: Tensor | None = None) -> Figure:
    """Return the pictures along a path side by side, under each the posterior of a class.

    Args:
        frames: (F, C, H, W) in [0, 1], as `Explainer.path` returns them for one image.
        posterior: (F,) of the class for each frame.
        of: the class's name.
        asked: (F,) the posterior that was asked for, where a knob was turned.

    Raises:
        ValueError: no frames, or not one posterior a frame.
    """
    count = _some(len(frames))
    if posterior.shape != (count,):
        raise ValueError(f"posterior: expected one a frame, ({count},), got {tuple(posterior.shape)}; pass the column "
                         "of one class")  # fmt: skip
    figure = _figure(1.3 * count + 0.4, 2.2)
    for place, axis in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        wanted = "" if asked is None else f"asked {float(asked[place]):.2f}\n"
        _picture(axis, pixels(frames[place]), f"{wanted}{float(posterior[place]):.2f}")
    figure.suptitle(f"posterior of {of!r} along the path", fontsize=10, x=0.01, ha="left")
    return figure


def curves(drawn: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Return one small plot a curve, e.g. of `Report.curves`.

    Args:
        drawn: name to (x, y).

    Raises:
        ValueError: no curves.
    """
    count = _some(len(drawn))
    columns = min(count, 3)
    lines = -(-count // columns)
    figure = _figure(3.4 * columns, 2.6 * lines)
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for axis, (name, (x, y)) in zip(axes, drawn.items(), strict=False):
        axis.plot(x, y, color="#1f5fbf")
        axis.set_title(textwrap.fill(name, 40), fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[count:]:
        axis.axis("off")
    return figure


def _some(count: int) -> int:
    if not count:
        raise ValueError("explanation: expected at least one answer to draw, got none; explain an image first")
    return count


def _figure(width: float, height: float) -> Figure:
    return _shown_in_notebooks()(figsize=(width, height), dpi=120, layout="constrained")


@functools.cache
def _shown_in_notebooks() -> type[Figure]:
    from matplotlib.figure import Figure  # slow to import, and only drawn here

    class Drawing(Figure):
        """A figure that a notebook shows whether or not pyplot was imported."""

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Drawing


def _picture(axis: Axes, picture: Pixels, title: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color("#bbbbbb")
    axis.set_title(title, fontsize=10)


def _words(axis: Axes, explanation: Explanation, row: int, name: str = "") -> None:
    axis.axis("off")
    good = bool(explanation.valid[row]) or not bool(explanation.asked[row]) or explanation.counterfactual is None
    text = textwrap.fill(explanation.words(row), 30)
    axis.text(0.0, 0.5, f"{name}\n{text}".strip(), fontsize=9, va="center", color="black" if good else "#b00020")


def _legend(scale: float, *explanations: Explanation) -> str:
    if all(one.difference is None for one in explanations):
        return ""
    return f"change: orange brighter, blue darker, full colour at {scale:.2f}"
