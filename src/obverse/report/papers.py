"""Where a method and its figures come from: the papers, and what the classes say of themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from obverse.baselines import BASELINES, baseline
from obverse.explainer import Explainer
from obverse.methods import METHODS, method
from obverse.metrics import METRICS, metric
from obverse.metrics.base import Metric
from obverse.report.base import Row

PAPERS = {
    "CX-GAN": "T. Zia, Z. Nisar, S. Murtaza: Counterfactual Explanation and Instance-Generation using Cycle-Consistent "
    "Generative Adversarial Networks.",
    "C3LT": "S. Khorram, F. Li: Cycle-Consistent Counterfactuals by Latent Transformations.",
    "SyCE": "M. Charachon, P.-H. Cournède, C. Hudelot, R. Ardon: Leveraging Conditional Generative Models in a General "
    "Explanation Framework of Classifier Decisions.",
    "EPE": "S. Singla, B. Pollack, J. Chen, K. Batmanghelich: Explanation by Progressive Exaggeration.",
    "medXGAN": "A. Dravid, F. Schiffers, B. Gong, A. K. Katsaggelos: medXGAN: Visual Explanations for Medical "
    "Classifiers through a Generative Latent Space.",
}
"""The five papers, by the names that metrics cite them with."""
CITED_AS = {
    "Charachon": "SyCE",
    "Progressive Exaggeration": "EPE",
    "Khorram": "C3LT",
    "Zia": "CX-GAN",
    "Dravid": "medXGAN",
}


def explained(name: str) -> list[tuple[str, str]]:
    """Return what an explainer is and where it comes from, in its own words; nothing for one that is not ours."""
    if name not in METHODS and name not in BASELINES:
        return []
    kind: type[Explainer] = method(name) if name in METHODS else baseline(name)
    own, module = _first(kind.__doc__), _first(sys.modules[kind.__module__].__doc__)
    return [(f"explainer {name}", own), *([("after", module)] if name in METHODS else [])]


def meaning(row: Row) -> str:
    """Return what a figure means, for the hover text; "" where its metric is not ours."""
    if row.metric not in METRICS:
        return ""
    kind: type[Metric] = metric(row.metric)
    better = {"higher": "Higher is better.", "lower": "Lower is better.", "none": "Neither is better."}[row.better]
    return f"{better} {kind.formula}\n{kind.about}\nSource: {kind.source}."


def methods(name: str, metrics: Iterable[str]) -> list[tuple[str, str]]:
    """Return the section on methods: the explainer, the papers cited, and where each figure comes from.

    Args:
        name: of the explainer.
        metrics: keys in METRICS; others are left out.
    """
    known = [metric(key) for key in dict.fromkeys(metrics) if key in METRICS]
    about, sources = explained(name), {kind.title: kind.source for kind in known}
    text = " ".join([*(words for _, words in about), *sources.values()])
    text += " ".join(key for word, key in CITED_AS.items() if word in text)
    cited = [(key, paper) for key, paper in PAPERS.items() if key in text]
    return [*about, *cited, *((f"figure: {title}", source) for title, source in sources.items())]


def _first(text: str | None) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())
