"""The way from an image to its counterfactual: pictures, and what the classifier says of each."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from obverse.explainer import Explainer
from obverse.explanation import Explanation, NotApplicable, as_saved
from obverse.figures import Pixels, overlay, pixels

FRAME_MILLISECONDS = 80
REST_FRAMES = 6  # how long an animation rests at either end
LEAST_SIDE = 256  # pixels of an animation's shorter side; smaller pictures are magnified


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """The frames of the ways of N answers.

    Args:
        frames: (N, F, C, H, W) in [0, 1], as an 8-bit file keeps them.
        posterior: (N, F, K) of every frame.
        asked: (F,) posterior of the target that a knob was asked for; None where there is no knob.
        kind: how the frames came about, for captions.
        faded: whether they are cross-faded pixels, which no method made.
    """

    frames: Tensor
    posterior: Tensor
    asked: Tensor | None
    kind: str
    faded: bool

    def labels(self) -> list[str]:
        """Return what to call each frame."""
        if self.asked is not None:
            return [*(f"asked {value:.0%}" for value in self.asked.tolist()[:-1]), "counterfactual"]
        last = self.frames.shape[1] - 1
        return ["start", *(f"{place / last:.0%} of the way" for place in range(1, last)), "counterfactual"]


def walk(explainer: Explainer, explanation: Explanation, *, frames: int = 11, seed: int = 0) -> Walk:
    """Return the way to every answer of an explanation: the method's own, or else pixels cross-faded.

    A method with a knob is asked for posteriors of the target from 0 to 1 in equal steps.

    Args:
        explainer: what made the explanation, one answer an image.
        explanation: the answers.
        frames: how many, at least 2.
        seed: of the explanation.

    Raises:
        NotApplicable: the answers hold no counterfactual.
    """
    if explanation.counterfactual is None:
        raise NotApplicable(f"walk: {explainer.name} makes no counterfactual to walk to; use a method that does")
    asked, faded = None, False
    if explainer.has_knob:
        asked = torch.linspace(0, 1, frames)
        way, kind = _turned(explainer, explanation, asked, seed), "the posterior was asked of the method's knob"
        way[:, -1] = explanation.counterfactual  # the last picture is the answer's: a search beyond the ends may go further
    elif type(explainer).frames is Explainer.frames:  # cross-faded from what is there, without a second answer
        start = explanation.image if explanation.stable is None else explanation.stable
        share = torch.linspace(0, 1, frames, device=start.device).view(1, -1, 1, 1, 1)
        way = start[:, None] * (1 - share) + explanation.counterfactual[:, None] * share
        kind, faded = "pixels cross-faded between the two ends, since the method makes none between them", True
    else:
        way = explainer.path(explanation.image, explanation.target, frames=frames, seed=seed)
        kind = explainer.path_kind
    way = as_saved(way)
    with torch.no_grad():
        posterior = explainer.classifier.posterior(way.flatten(0, 1)).unflatten(0, way.shape[:2])
    return Walk(frames=way, posterior=posterior, asked=asked, kind=kind, faded=faded)


def _turned(explainer: Explainer, explanation: Explanation, asked: Tensor, seed: int) -> Tensor:
    """Return (N, F, C, H, W), what the knob gives at every posterior of each row's target."""
    count = len(explanation)
    way = explanation.image.new_empty(count, len(asked), *explanation.image.shape[1:])
    for target in explanation.target.unique().tolist():
        rows = explanation.target == target
        for place, value in enumerate(asked.tolist()):
            made = explainer.at(explanation.image[rows], value, of=int(target), seed=seed).counterfactual
            if made is None:
                raise NotApplicable(f"walk: {explainer.name} has a knob but makes no counterfactual")
            way[rows, place] = made
    return way


def strip(frames: Tensor) -> Pixels:
    """Return (F, C, H, W) frames as one tall picture, the first on top; a page shows one of them at a time."""
    return np.concatenate([pixels(frame) for frame in frames])


def change_strip(start: Tensor, frames: Tensor, scale: float) -> Pixels:
    """Return the overlays of frames (F, C, H, W) minus start (C, H, W) as one tall picture."""
    return np.concatenate([overlay(start, frame - start, scale) for frame in frames])


def animation(frames: Tensor) -> bytes:
    """Return (F, C, H, W) frames as an animated GIF that walks there and back for ever, magnified where small."""
    height, width = frames.shape[-2:]
    factor = max(1, -(-LEAST_SIDE // min(height, width)))
    pictures = [Image.fromarray(pixels(frame)) for frame in frames]
    if frames.shape[1] != 3:
        pictures = [picture.convert("L") for picture in pictures]  # 256 greys are exact, a palette of colours is not
    large = [picture.resize((width * factor, height * factor), Image.Resampling.NEAREST) for picture in pictures]
    order = [*large, *large[-2:0:-1]]
    rest = [FRAME_MILLISECONDS * (REST_FRAMES if k in (0, len(large) - 1) else 1) for k in range(len(order))]
    buffer = io.BytesIO()
    order[0].save(buffer, "GIF", save_all=True, append_images=order[1:], duration=rest, loop=0, optimize=False)
    return buffer.getvalue()
