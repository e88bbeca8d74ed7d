"""obverse explain RUN IMAGE..."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from obverse.commands.options import parse
from obverse.data.images import image_for
from obverse.methods import load
from obverse.report.files import save_explanation
from obverse.settings import adjust


@dataclass(kw_only=True)
class ExplainOptions:
    """What to explain.

    Args:
        run: the run folder of a trained explainer.
        images: picture files; they are resized to what the classifier takes.
        target: class to explain towards; default the other class, or the runner-up.
        posterior: ask for this posterior of the target instead of a decision, for methods with a knob.
        set: hyperparameters that count when explaining, e.g. refine_steps=30, where the run has others.
        answers: counterfactuals an image, for methods that have several.
        out: folder for the pictures and result.json.
        seed: of the method's noise.
    """

    run: tyro.conf.Positional[Path]
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE...")]
    target: str | None = None
    posterior: float | None = None
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
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
    adjust(explainer, dict(_setting(word) for word in options.set))
    image = torch.stack([image_for(path, explainer.classifier.image_shape) for path in options.images])
    if options.posterior is None:
        explanation = explainer.explain(image, options.target, answers=options.answers, seed=options.seed)
    elif options.target is None or options.answers != 1:
        raise ValueError("posterior: expected a target whose posterior it is, and one answer; pass --target CLASS and leave "
                         "answers out")  # fmt: skip
    else:
        explanation = explainer.at(image, options.posterior, of=options.target, seed=options.seed)
    written = save_explanation(explanation, options.out, [str(path) for path in options.images])
    table = Table("image", "decided", "asked for", "says", box=None)
    for row in range(len(explanation)):
        names = explanation.classes
        table.add_row(options.images[int(explanation.query[row])].name, names[int(explanation.source[row])],
                      names[int(explanation.target[row])], explanation.words(row))  # fmt: skip
    Console().print(table)
    print(f"{len(written)} files in {options.out}")
    return 0


def _setting(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"set: expected NAME=VALUE, got {word!r}; pass e.g. refine_steps=30")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
