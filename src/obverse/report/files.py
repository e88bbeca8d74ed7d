"""Explanations as files: a picture an image, and the figures beside them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from obverse.checkpoint import write_json
from obverse.explanation import Explanation
from obverse.figures import pixels, png, sheet


def save_explanation(explanation: Explanation, folder: str | Path, names: Sequence[str]) -> list[Path]:
    """Write NAME.png (a sheet), NAME-counterfactual.png for every answer, and `result.json` into a folder.

    Args:
        explanation: the answers to the images in `names`.
        folder: made if missing; files of the same names are replaced.
        names: one an image, as in `Explanation.query`; folders and endings are dropped, repeats are numbered.

    Returns:
        list: the sheets and `result.json`.

    Raises:
        ValueError: not one name an image, or a picture that would replace one of the images.
    """
    images = int(explanation.query.max()) + 1 if len(explanation) else 0
    if len(names) != images:
        raise ValueError(f"names: expected {images}, one an image, got {len(names)}; pass the file names explained")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    theirs = {Path(name).resolve() for name in names}
    written: list[Path] = []
    results: list[dict[str, Any]] = []
    stems = _stems(names)
    if lost := [stem for stem in stems if (folder / f"{stem}.png").resolve() in theirs]:
        raise ValueError(f"out: {folder / f'{lost[0]}.png'} is one of the images that are explained, and would be replaced; "
                         "choose another folder")  # fmt: skip
    for query, (name, stem) in enumerate(zip(names, stems, strict=True)):
        part = explanation.select(explanation.query == query)
        path = folder / f"{stem}.png"
        sheet(part).savefig(path)
        written.append(path)
        for row in range(len(part)):
            result = describe(part, row)
            if part.counterfactual is not None:
                file = f"{stem}-counterfactual{'' if len(part) == 1 else f'-{row + 1}'}.png"
                (folder / file).write_bytes(png(pixels(part.counterfactual[row])))
                result["counterfactual"] = file
            results.append({"image": name, "sheet": path.name, **result})
    write_json(folder / "result.json", {"method": explanation.method, "classifier": explanation.fingerprint,
                                        "classes": list(explanation.classes), "answers": results})  # fmt: skip
    return [*written, folder / "result.json"]


def describe(explanation: Explanation, row: int) -> dict[str, Any]:
    """Return what is known of one answer, as JSON can hold it."""
    classes = explanation.classes
    difference = explanation.difference
    return {
        "source": classes[int(explanation.source[row])],
        "target": classes[int(explanation.target[row])],
        "asked": bool(explanation.asked[row]),
        "valid": bool(explanation.valid[row]),
        "words": explanation.words(row),
        "posterior before": _named(classes, explanation.posterior_before[row]),
        "posterior after": _named(classes, explanation.posterior_after[row]),
        "mean absolute change": None if difference is None else float(difference[row].abs().mean()),
        "requested": _number(explanation.requested, row),
        "residual": _number(explanation.residual, row),
        "represented": None if explanation.represented is None else bool(explanation.represented[row]),
        "posterior gap": _number(explanation.posterior_gap, row),
        "precision": explanation.precision,
    }


def _number(values: torch.Tensor | None, row: int) -> float | None:
    return None if values is None else float(values[row])


def _named(classes: Sequence[str], posterior: torch.Tensor) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(classes, posterior, strict=True)}


def _stems(names: Sequence[str]) -> list[str]:
    """Return file names without folder and ending, numbered where they repeat."""
    stems: list[str] = []
    for name in names:
        plain = Path(name).stem or "image"
        tried = itertools.chain([plain], *((f"{plain}-{k}", f"{k}-{plain}") for k in range(2, len(names) + 2)))
        stems.append(next(stem for stem in tried if not any(_clash(stem, other) for other in stems)))
    return stems


def _clash(one: str, other: str) -> bool:
    """Return whether files of two stems could have one name: the same stem, or one like the other's counterfactual."""
    one, other = one.lower(), other.lower()  # some file systems do not tell cases apart
    return one == other or one.startswith(f"{other}-counterfactual") or other.startswith(f"{one}-counterfactual")
