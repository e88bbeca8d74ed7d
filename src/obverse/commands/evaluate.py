"""obverse evaluate RUN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from obverse.commands.options import parse
from obverse.commands.runs import JudgeOptions, check_place, history_if_any
from obverse.evaluation import evaluate
from obverse.report.base import check_ending


@dataclass(kw_only=True)
class EvaluateOptions:
    """What to evaluate.

    Args:
        run: the run folder of a trained explainer.
        metrics: names of the figures wanted; default all that apply.
        judges: folder where the networks that judge realism are kept between evaluations.
        inception: safetensors file with the weights of Inception-v3, for distances on its features.
        out: the report; .html, .json or .csv.
        examples: explanations shown in the report.
    """

    run: tyro.conf.Positional[Path]
    metrics: tuple[str, ...] = ()
    judges: Path | None = None
    inception: Path | None = None
    out: Path = Path("report.html")
    examples: int = 48


def run(arguments: list[str]) -> int:
    """Score an explainer and write its report."""
    about = "Say in figures how far an explainer can be trusted."
    options = parse("evaluate", about, {"evaluate": EvaluateOptions, "judge": JudgeOptions}, arguments)
    chosen: EvaluateOptions = options["evaluate"]
    check_place(check_ending(chosen.out).parent)  # now, not after an hour
    opened = options["judge"].open(chosen.run)
    report = evaluate(
        opened.explainer, opened.data, reference=opened.train, validation=opened.validation,
        second_classifier=opened.second, attribute_classifier=opened.attributes, history=history_if_any(chosen.run),
        metrics=chosen.metrics or None,
        judges=chosen.judges, inception=chosen.inception, examples=chosen.examples, seed=options["judge"].seed,
    )  # fmt: skip
    report.save(chosen.out)
    Console().print(report.console())
    print(f"report: {chosen.out.resolve()}")
    return 0
