"""obverse compare RUN... --baseline NAME..."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from obverse.commands.options import parse
from obverse.commands.runs import JudgeOptions, beside, check_place, history_if_any
from obverse.compare import compare
from obverse.evaluation import evaluate
from obverse.explainer import Explainer


@dataclass(kw_only=True)
class CompareOptions:
    """What to compare.

    Args:
        runs: run folders of trained explainers of one classifier; differences are taken from the first.
        baseline: names of baselines beside them, e.g. identity pgd gradcam, or with settings, e.g. pgd:published
            pgd:epsilon=0.28 integrated_gradients:baseline=counterfactual (the first run's). There are adversarial_noise,
            bbmp, cam, cem, cve, gradcam, gradient, identity, image_minus_blur, integrated_gradients, latent_gradients,
            mean_image, nearest, occlusion, pgd, random_map, raw_image, reconstruction, smoothgrad, wachter and xgem.
        metrics: names of the figures wanted; default all that apply.
        judges: folder where the networks that judge realism are kept between evaluations; an autoencoder from there is
            also what the baselines cem and reconstruction take.
        inception: safetensors file with the weights of Inception-v3, for distances on its features.
        out: folder for a report of each as HTML and JSON, and the comparison as HTML, JSON and CSV.
    """

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN...")]
    baseline: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    judges: Path | None = None
    inception: Path | None = None
    out: Path = Path("comparison")


def run(arguments: list[str]) -> int:
    """Evaluate explainers of one classifier on the same images and write them side by side."""
    about = "Put explainers of one classifier side by side; what is better beyond the interval is marked, nothing is ranked."
    options = parse("compare", about, {"compare": CompareOptions, "judge": JudgeOptions}, arguments)
    chosen: CompareOptions = options["compare"]
    if not chosen.runs:
        raise ValueError("runs: expected at least one run folder, got none; train one with `obverse fit`")
    if len(chosen.runs) + len(chosen.baseline) < 2:
        raise ValueError(f"runs: expected something to compare {chosen.runs[0]} with, got nothing; name "
                         "another run, or a --baseline")  # fmt: skip
    check_place(chosen.out)
    opened = [options["judge"].open(folder) for folder in chosen.runs]
    first = opened[0].explainer.classifier.fingerprint
    for folder, other in zip(chosen.runs, opened):
        if other.explainer.classifier.fingerprint != first:
            raise ValueError(
                f"runs: {folder} explains another classifier than {chosen.runs[0]}; compare explainers of one"
            )
    names = [folder.resolve().name for folder in chosen.runs]
    explainers: dict[str, Explainer] = {name: one.explainer for name, one in zip(names, opened)}
    if len(explainers) < len(opened):
        raise ValueError("runs: expected folders with different names, got the same name twice; rename one")
    if taken := [name for name in names if name in (*chosen.baseline, "comparison")]:
        raise ValueError(f"runs: {taken[0]!r} names {'the comparison' if taken[0] == 'comparison' else 'a baseline'} too; rename "
                         "that folder")  # fmt: skip
    explainers |= {name: beside(name, opened[0], chosen.judges) for name in chosen.baseline}
    histories = {name: history_if_any(folder) for name, folder in zip(names, chosen.runs)}
    reports = {}
    for name, explainer in explainers.items():
        reports[name] = evaluate(
            explainer, opened[0].data, reference=opened[0].train, validation=opened[0].validation,
            second_classifier=opened[0].second, attribute_classifier=opened[0].attributes,
            metrics=chosen.metrics or None, judges=chosen.judges, inception=chosen.inception,
            history=histories.get(name), seed=options["judge"].seed,
        )  # fmt: skip
        plain = re.sub(r"[^\w.-]+", "-", name)  # settings hold signs that no file name may
        for ending in ("html", "json"):  # kept, whatever happens to the next one
            reports[name].save(chosen.out / f"{plain}.{ending}")
    comparison = compare(reports, seed=options["judge"].seed)
    for ending in ("html", "json", "csv"):
        comparison.save(chosen.out / f"comparison.{ending}")
    Console().print(comparison.console())
    print(f"reports and comparison: {chosen.out.resolve()}")
    return 0
