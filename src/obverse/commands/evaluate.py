"""obverse evaluate RUN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from obverse.checkpoint import read_json
from obverse.commands.options import DataOptions, parse
from obverse.data import match_labels
from obverse.evaluation import evaluate
from obverse.methods import classifier_for, load
from obverse.training import history_of


@dataclass(kw_only=True)
class EvaluateOptions:
    """What to evaluate.

    Args:
        run: the run folder of a trained explainer.
        data: images to evaluate on; default those of the run.
        data_dir: where the files of a named set are.
        split: train, validation or test.
        second_classifier: a classifier trained independently: does it see the flips too?
        metrics: names of the figures wanted; default all that apply.
        judges: folder where the networks that judge realism are kept between evaluations.
        out: the report; .html, .json or .csv.
        examples: explanations shown in the report.
        seed: of intervals and examples.
    """

    run: tyro.conf.Positional[Path]
    data: str | None = None
    data_dir: Path | None = None
    split: str = "test"
    second_classifier: Path | None = None
    metrics: tuple[str, ...] = ()
    judges: Path | None = None
    out: Path = Path("report.html")
    examples: int = 48
    seed: int = 0


def run(arguments: list[str]) -> int:
    """Score an explainer and write its report."""
    about = "Say in figures how far an explainer can be trusted."
    options: EvaluateOptions = parse("evaluate", about, {"evaluate": EvaluateOptions}, arguments)["evaluate"]
    explainer = load(options.run)
    facts = read_json(options.run / "run.json")["data"]
    facts |= {"data": options.data or facts["data"], "data_dir": options.data_dir or facts["data_dir"]}
    source = DataOptions(**facts)
    names = explainer.classifier.classes
    splits = {name: source.open(name) for name in {"train", "validation", options.split}}
    if not explainer.classifier.view:  # the labels of a view are not the data's
        splits = {name: match_labels(data, names) for name, data in splits.items()}
    other = options.second_classifier
    second = None if other is None else classifier_for(options.run, other)
    report = evaluate(
        explainer, splits[options.split], reference=splits["train"], validation=splits["validation"],
        second_classifier=second, history=history_of(options.run), metrics=options.metrics or None, judges=options.judges,
        examples=options.examples, seed=options.seed,
    )  # fmt: skip
    Console().print(report.console())
    report.save(options.out)
    print(f"report: {options.out.resolve()}")
    return 0
