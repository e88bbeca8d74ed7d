"""`obverse audit` of an explainer that should pass, of one that must not, and of a map, on the digits 3 and 8."""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any

import obverse.data
from benchmarks.runner import RESULTS, hardware, named
from benchmarks.table import Row, Untrained
from benchmarks.tables.syce_digits import TABLE
from benchmarks.training import Workshop, train_classifier
from obverse.audit import audit
from obverse.checkpoint import write_json
from obverse.classifier import Classifier
from obverse.explainer import Explainer, LearnedExplainer
from obverse.runs import versions
from obverse.training import fit

ROWS: dict[str, Row] = {
    "PGD": Untrained(method="pgd", settings={"epsilon": 64 / 255}),
    "nearest image": Untrained(method="nearest"),
    "Grad-CAM": Untrained(method="gradcam"),
    "SyCE": TABLE.rows["SyCE"],
}
RETRAIN_STEPS = 500


def run(*, quick: bool) -> dict[str, Any]:
    """Audit, print, and write results/audits.json after every row; rows of the same classifier that are there stay."""
    splits = {name: obverse.data.open(TABLE.data, split=name) for name in ("train", "validation", "test")}
    classifier, _ = train_classifier(TABLE.classifier, splits["train"], splits["validation"], 0)
    if TABLE.second_classifier is None:
        raise ValueError(f"{TABLE.name}: its second classifier is missing; an audit asks about transfer")
    second, _ = train_classifier(TABLE.second_classifier, splits["train"], splits["validation"], 1)
    shop, steps = Workshop(ROWS, classifier, splits), 2 if quick else RETRAIN_STEPS

    def anew(explainer: LearnedExplainer, other: Classifier) -> Explainer:
        fresh: LearnedExplainer = dataclasses.replace(explainer, classifier=other)
        fit(fresh, splits["train"], validation=splits["validation"], steps=steps, batch_size=64, validate_every=steps)
        return fresh

    path = RESULTS / "audits.json"
    rows: dict[str, Any] = {}
    for name in ROWS:
        if not quick and name in named(path, classifier):
            continue
        explainer, _ = shop.make(name, 0)
        found = audit(
            explainer, splits["test"], second_classifier=second, autoencoder=shop.autoencoder(), images=8 if quick else 256,
            rebuild=functools.partial(anew, explainer) if isinstance(explainer, LearnedExplainer) else None,
        )  # fmt: skip
        rows[name] = found.to_dict() | {"explains": classifier.fingerprint[:12], "hardware": hardware()}
        sys.stdout.write("\n".join([f"{name}: {'passed' if found.passed else 'FAILED'}", *found.lines(), ""]))
        if not quick:
            write_json(path, {
                "table": "audits",
                "about": "Audits on 256 test images of the digits 3 and 8.",
                "rows": named(path, classifier) | rows,
                "notes": [f"SyCE was trained anew for {RETRAIN_STEPS} steps for a randomised classifier, and as a control."],
                "versions": versions(),
                "hardware": hardware(),
            })  # fmt: skip
    return rows
