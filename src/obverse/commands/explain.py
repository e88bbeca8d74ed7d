"""obverse explain RUN IMAGE..."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.table import Table

from obverse.commands.options import parse
from obverse.data.images import image_for
from obverse.methods import load
from obverse.report.files import save_explanation


@dataclass(kw_only=True)
class ExplainOptions:
    """What to explain.

    Args:
        run: the run folder of a trained explainer.
        images: picture files; they are resized to what the classifier takes.
        target: class to explain towards; default the other class, or the runner-up.
        answers: counterfactuals an image, for methods that have several.
        out: folder for the pictures and result.json.
        seed: of the method's noise.
    """

    run: tyro.conf.Positional[Path]
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE...")]
    target: str | None = None
    answers: int = 1
    out: Path = Path("explained")
    seed: int = 0


def run(arguments: list[str]) -> int:
    """Explain image files and write sheets, counterfactuals and result.json."""
    about = "Show what images would have to look like for the classifier to decide otherwise."
    options: ExplainOptions = parse("explain", about, {"explain": ExplainOptions}, arguments)["explain"]
    if not options.images:
        raise ValueError("images: expected at least one file, got none; name the pictures to explain")
    explainer = load(options.run)
    image = torch.stack([image_for(path, explainer.classifier.image_shape) for path in options.images])
    explanation = explainer.explain(
        image, None if options.target is None else _named(options.target), answers=options.answers, seed=options.seed
    )
    written = save_explanation(explanation, options.out, [str(path) for path in options.images])
    table = Table("image", "decided", "asked for", "says", box=None)
    for row in range(len(explanation)):
        names = explanation.classes
        table.add_row(options.images[int(explanation.query[row])].name, names[int(explanation.source[row])],
                      names[int(explanation.target[row])], explanation.words(row))  # fmt: skip
    Console().print(table)
    print(f"{len(written)} files in {options.out}")
    return 0


def _named(target: str) -> int | str:
    return int(target) if target.isdigit() and len(target) < 4 else target
