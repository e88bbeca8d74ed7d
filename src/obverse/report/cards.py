"""One answer as a page shows it: pictures, the way to the counterfactual, posteriors, and words."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from obverse.data.base import Sample
from obverse.explanation import Explanation
from obverse.figures import Pixels, outline, panels, pixels
from obverse.report.walk import Walk, change_strip, strip

MOST_BARS = 4
"""Classes whose posteriors are drawn for one answer: source, target, and the most probable others."""
TINY = 100  # pixels; images narrower than this are magnified without smoothing


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One picture of a card.

    Args:
        name: its caption.
        uri: the picture itself, as a data URI.
        alt: what it shows, in words.
        width, height: of what is seen at a time, pixels.
        way: "still"; "strip", all frames of a walk on top of each other; or "fade", the end drawn over `under`.
        under: the picture below a fade.
        moving: whether its caption follows the slider.
    """

    name: str
    uri: str
    alt: str
    width: int
    height: int
    way: str = "still"
    under: str = ""
    moving: bool = False

    @property
    def tiny(self) -> bool:
        """Whether it is magnified without smoothing."""
        return self.width < TINY

    @property
    def tip(self) -> str:
        """What its caption means, where that does not go without saying."""
        return TIPS.get(self.name, "")


@dataclass(frozen=True, kw_only=True)
class Card:
    """One answer, ready for the template.

    Args:
        name: of the image.
        source, target: class names.
        made: whether there is a counterfactual.
        failed: whether it is not valid though something was asked.
        wrong: what is wrong with the classifier's own decision, "" where nothing is.
        words: how far to trust it.
        pictures: in the order they are read.
        bars: class, posterior before, posterior after, in percent.
        walk: what the slider needs, or None.
        notes: what else a reader must know.
        asked: whether anything was asked of the method.
    """

    name: str
    source: str
    target: str
    made: bool
    failed: bool
    wrong: str
    words: str
    pictures: tuple[Shown, ...]
    bars: tuple[tuple[str, float, float], ...]
    walk: dict[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())
    asked: bool = True

    @property
    def mark(self) -> str:
        """The verdict in a word or two."""
        if not self.made:
            return "attribution only"
        if not self.asked:
            return "nothing was asked"
        return "NOT VALID" if self.failed else "valid"

    @property
    def verdict(self) -> str:
        """What the page shows the mark as: "good", "bad", or neither."""
        return "bad" if self.failed else "good" if self.made and self.asked else ""

    @property
    def first(self) -> tuple[Shown, ...]:
        """What is looked at first, where there is room to tell: the image, its answer, and the change."""
        wanted = ("image", "counterfactual", "what changed") if self.made else ("image", "attribution")
        return tuple(one for one in self.pictures if one.name in wanted)

    @property
    def others(self) -> tuple[Shown, ...]:
        """The other pictures."""
        return tuple(one for one in self.pictures if one not in self.first)

    @property
    def kinds(self) -> str:
        """What the filter knows it by."""
        return " ".join(kind for kind, applies in (("failed", self.failed), ("wrong", bool(self.wrong))) if applies)

    @property
    def column(self) -> str:
        """What the second column of bars is called."""
        return "" if not self.made else "at the slider" if self.walk else "after"


def columns(cards: Iterable[Card]) -> int:
    """Return how many pictures to put beside each other, so that they are of one size in all cards."""
    return 4 if max((len(one.pictures) for one in cards), default=0) == 4 else 3


def card(
    explanation: Explanation,
    row: int,
    *,
    name: str,
    scale: float,
    walk: Walk | None = None,
    sample: Sample | None = None,
    exact: bool = True,
    lossless: bool = True,
    notes: Sequence[str] = (),
) -> Card:
    """Return what to show of one answer.

    Args:
        explanation: the answers.
        row: which.
        name: of its image.
        scale: the change that gets full colour.
        walk: the ways to all answers of the explanation.
        sample: what is known of the images, with the same rows.
        exact: draw every frame of a cross-faded way; otherwise the browser fades, which takes no room.
        lossless: keep every pixel; otherwise smaller.
        notes: what else a reader must know.
    """
    classes = explanation.classes
    source, target = int(explanation.source[row]), int(explanation.target[row])
    before, after = explanation.posterior_before[row], explanation.posterior_after[row]
    others = [k for k in (before + after).argsort(descending=True).tolist() if k not in (source, target)]
    seen = list(dict.fromkeys([source, target, *others]))[:MOST_BARS]
    label = None if sample is None or sample.label is None or int(sample.label[row]) < 0 else int(sample.label[row])
    made, asked = explanation.counterfactual is not None, bool(explanation.asked[row])
    return Card(
        name=name, source=classes[source], target=classes[target], made=made, asked=asked,
        failed=made and asked and not bool(explanation.valid[row]), words=explanation.words(row),
        wrong="" if label is None or label == source else f"labelled {classes[label]}: the classifier is wrong here",
        pictures=tuple(_pictures(explanation, row, scale, name, walk, sample, exact, lossless)),
        bars=tuple((classes[k], 100 * float(before[k]), 100 * float(after[k])) for k in seen),
        walk=None if walk is None else _slider(walk, row, classes, seen), notes=tuple(notes),
    )  # fmt: skip


def _pictures(
    explanation: Explanation, row: int, scale: float, name: str, walk: Walk | None, sample: Sample | None, exact: bool,
    lossless: bool,
) -> list[Shown]:  # fmt: skip
    height, width = explanation.image.shape[-2:]

    def shown(title: str, drawn: Pixels, way: str = "still", under: str = "") -> Shown:
        alt = f"{ALT.get(title, title)} of {name}"
        return Shown(name=title, uri=data_uri(drawn, lossless), alt=alt, width=width, height=height, way=way,
                     under=under, moving=way != "still" and title == "counterfactual")  # fmt: skip

    found = []
    start = explanation.image[row] if explanation.stable is None else explanation.stable[row]
    for title, drawn in panels(explanation, row, scale):
        if walk is not None and title == "counterfactual" and walk.faded and not exact:
            found.append(shown(title, drawn, "fade", data_uri(pixels(start), lossless)))
        elif walk is not None and title == "counterfactual":
            found.append(shown(title, strip(walk.frames[row]), "strip"))
        elif walk is not None and title == "what changed" and exact:
            found.append(shown(title, change_strip(start, walk.frames[row], scale), "strip"))
        else:
            found.append(shown(title, drawn))
    if sample is not None and sample.mask is not None and bool((sample.mask[row] > 0).any()):
        found.append(shown("mask", outline(sample.image[row], sample.mask[row])))
    if sample is not None and sample.twin is not None and bool((sample.twin[row] != sample.image[row]).any()):
        found.append(shown("true twin", pixels(sample.twin[row])))
    return found


TIPS = {
    "stable": "What the method makes of the image when nothing is asked of it. The change is measured from here, so that "
    "traces of the method itself do not count.",
    "attribution": "Where the evidence is: the more colour, the more the decision depends on that place. Scaled to its own "
    "maximum.",
    "mask": "The region that is annotated in the data: what a good explanation should point at. The method never saw it.",
    "true twin": "The same image with, or without, the finding, which generated data know. The method never saw it.",
}
ALT = {
    "image": "the image",
    "stable": "the method's own picture",
    "counterfactual": "the way to the counterfactual",
    "what changed": "what changed, orange brighter and blue darker,",
    "attribution": "where the evidence is, on the grey image",
    "mask": "the annotated region",
    "true twin": "the true image of the other class",
}


def _slider(walk: Walk, row: int, classes: Sequence[str], seen: Sequence[int]) -> dict[str, Any]:
    posterior: Tensor = walk.posterior[row].cpu()
    labels, decided = walk.labels(), [repr(classes[k]) for k in posterior.argmax(1).tolist()]
    data = {
        "labels": labels,
        "decided": decided,
        "posterior": [[round(float(frame[k]), 4) for k in seen] for frame in posterior],
    }
    return {"data": json.dumps(data), "last": len(labels) - 1, "kind": walk.kind,
            "said": f"{labels[-1]}: decided {decided[-1]}"}  # fmt: skip


MOST_SIDE = 16383
"""Pixels of a WebP's side."""


def data_uri(picture: Pixels, lossless: bool = True) -> str:
    """Return a picture as a data URI: PNG, in one channel where it is grey; with `lossless` off, WebP if its sides allow."""
    grey = bool(np.array_equal(picture[..., 0], picture[..., 1]) and np.array_equal(picture[..., 1], picture[..., 2]))
    drawn, buffer = Image.fromarray(picture[..., 0] if grey else picture), io.BytesIO()
    if lossless := lossless or max(drawn.size) > MOST_SIDE:
        drawn.save(buffer, "PNG", compress_level=6)
    else:
        drawn.convert("RGB").save(buffer, "WEBP", quality=85)
    return f"data:image/{'png' if lossless else 'webp'};base64,{base64.b64encode(buffer.getvalue()).decode()}"
