"""obverse audit RUN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from obverse.audit import audit
from obverse.checkpoint import write_json
from obverse.commands.options import parse
from obverse.commands.runs import JudgeOptions, make_baseline
from obverse.explainer import Explainer


@dataclass(kw_only=True)
class AuditOptions:
    """What to audit.

    Args:
        run: the run folder of a trained explainer.
        baseline: audit this baseline for the run's classifier instead, e.g. pgd.
        images: how many at most.
        out: where the findings go, as JSON; default nowhere.
    """

    run: tyro.conf.Positional[Path]
    baseline: str | None = None
    images: int = 256
    out: Path | None = None


def run(arguments: list[str]) -> int:
    """Ask an explainer the questions that it must answer before its figures mean anything; 1 if it fails one."""
    about = "Check that an explainer explains this classifier, and what it sees rather than how it can be fooled."
    options = parse("audit", about, {"audit": AuditOptions, "judge": JudgeOptions}, arguments)
    chosen: AuditOptions = options["audit"]
    opened = options["judge"].open(chosen.run)
    explainer: Explainer = opened.explainer if chosen.baseline is None else make_baseline(chosen.baseline, opened)
    found = audit(
        explainer, opened.data, second_classifier=opened.second, images=chosen.images, seed=options["judge"].seed
    )
    print("\n".join(found.lines()))
    if chosen.out is not None:
        write_json(chosen.out, found.to_dict())
    return 0 if found.passed else 1
