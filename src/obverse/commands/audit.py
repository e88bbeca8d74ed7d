"""obverse audit RUN."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro

from obverse.audit import audit
from obverse.checkpoint import write_json
from obverse.classifier import Classifier
from obverse.commands.options import parse
from obverse.commands.runs import JudgeOptions, beside
from obverse.explainer import Explainer, LearnedExplainer
from obverse.opened import Opened, autoencoder
from obverse.training import fit


@dataclass(kw_only=True)
class AuditOptions:
    """What to audit.

    Args:
        run: the run folder of a trained explainer.
        baseline: audit this baseline for the run's classifier instead, e.g. pgd or pgd:epsilon=0.28; `obverse compare
            --help` lists them.
        images: how many at most.
        retrain_steps: steps of two short trainings, for a classifier with randomised weights and as a control for the
            same classifier; without it, that check is not asked of a method that learns. As many as the run took are
            fair, a quarter often suffices.
        batch_size: images a step of these trainings.
        judges: folder of the networks that judge realism; what its autoencoder's reconstructions do stands
            beside methods that make none, and it is what the baselines cem and reconstruction take.
        out: where the findings go, as JSON; default nowhere.
    """

    run: tyro.conf.Positional[Path]
    baseline: str | None = None
    images: int = 256
    retrain_steps: int | None = None
    batch_size: int = 64
    judges: Path | None = None
    out: Path | None = None


def run(arguments: list[str]) -> int:
    """Ask an explainer what it must answer before its figures mean anything; 1 if it fails or nothing can be asked."""
    about = "Check that an explainer explains this classifier, and what it sees rather than how it can be fooled."
    options = parse("audit", about, {"audit": AuditOptions, "judge": JudgeOptions}, arguments)
    chosen: AuditOptions = options["audit"]
    opened = options["judge"].open(chosen.run)
    explainer: Explainer = opened.explainer
    if chosen.baseline is not None:
        explainer = beside(chosen.baseline, opened, chosen.judges)
    found = audit(
        explainer, opened.data, second_classifier=opened.second, attribute_classifier=opened.attributes,
        autoencoder=None if chosen.judges is None else autoencoder(opened, chosen.judges),
        rebuild=_rebuild(explainer, opened, chosen), images=chosen.images, seed=options["judge"].seed,
    )  # fmt: skip
    print("\n".join(found.lines()))
    if _learns(explainer) and chosen.retrain_steps is None:
        print(f"{'hint':>9}  pass --retrain-steps N for the check of randomised weights: two trainings of N steps")
    if chosen.out is not None:
        write_json(chosen.out, found.to_dict())
    return 0 if found.passed else 1


def _rebuild(explainer: Explainer, opened: Opened, chosen: AuditOptions) -> Callable[[Classifier], Explainer] | None:
    """Return what makes the explainer, or the one that is its part, anew for another classifier; None if none learns."""
    steps = chosen.retrain_steps
    if steps is None or not _learns(explainer):
        return None

    def anew(old: Explainer, classifier: Classifier) -> Explainer:
        inner = {name: anew(part, classifier) for name, part in _explainers(old).items()}
        fresh = dataclasses.replace(old, classifier=classifier, **inner)
        if isinstance(fresh, LearnedExplainer):
            fit(fresh, opened.train, validation=opened.validation, steps=steps, batch_size=chosen.batch_size,
                validate_every=max(1, steps // 4))  # fmt: skip
        return fresh

    return lambda classifier: anew(explainer, classifier)


def _explainers(explainer: Explainer) -> dict[str, Explainer]:
    """Return the parts of an explainer that are explainers."""
    parts = {field.name: getattr(explainer, field.name) for field in dataclasses.fields(explainer) if field.init}
    return {name: part for name, part in parts.items() if isinstance(part, Explainer)}


def _learns(explainer: Explainer) -> bool:
    return isinstance(explainer, LearnedExplainer) or any(_learns(part) for part in _explainers(explainer).values())
