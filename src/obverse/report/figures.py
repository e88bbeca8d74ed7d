"""Pictures of explanations: overlays, and sheets of one row an image."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from obverse.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def common_scale(explanation: Explanation) -> float:
    """Return the change that overlays draw in full colour: exceeded by 0.5 % of all pixels that change."""
    if explanation.difference is None:
        return 1.0
    change = explanation.difference.mean(1).abs().flatten()
    change = change[change > 0.5 / 255]
    if not len(change):
        return 1.0
    return float(np.quantile(change.cpu().numpy(), 0.995))


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
    from matplotlib.figure import Figure  # slow to import, and only drawn here

    count = min(len(explanation), most)
    if not count:
        raise ValueError("explanation: expected at least one answer to draw, got none; explain an image first")
    scale = common_scale(explanation)
    rows = [panels(explanation, row, scale) for row in range(count)]
    columns, cell = len(rows[0]), 1.9
    figure = Figure(figsize=(cell * columns + 2.6, cell * count + 0.75), dpi=120, layout="constrained")
    axes = figure.subplots(count, columns + 1, squeeze=False, width_ratios=[1.0] * columns + [1.25])
    for row, shown in enumerate(rows):
        for column, (name, picture) in enumerate(shown):
            axis = axes[row, column]
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_color("#bbbbbb")
            if row == 0:
                axis.set_title(name, fontsize=10)
        axes[row, columns].axis("off")
        valid = bool(explanation.valid[row]) or not bool(explanation.asked[row]) or explanation.counterfactual is None
        axes[row, columns].text(0.0, 0.5, _folded(explanation.words(row)), fontsize=9, va="center",
                                color="black" if valid else "#b00020")  # fmt: skip
    legend = (
        f"change: orange brighter, blue darker, full colour at {scale:.2f}"
        if explanation.difference is not None
        else ""
    )
    figure.suptitle(f"{explanation.method}   {legend}", fontsize=10, x=0.01, ha="left")
    return figure


def _folded(text: str, width: int = 30) -> str:
    import textwrap

    return textwrap.fill(text, width)
