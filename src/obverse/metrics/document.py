"""docs/metrics.md, from the classes: `python -m obverse.metrics.document > docs/metrics.md`."""

from __future__ import annotations

import math
import sys

from obverse.metrics import METRICS, metric
from obverse.metrics.base import NEEDS, Metric, Probe, SetMetric

HEAD = """# The figures of merit

Made from the classes in `src/obverse/metrics` by `python -m obverse.metrics.document > docs/metrics.md`; change them
there.

Symbols: x the image, x' its counterfactual, x_s the method's stable image (the image where it makes none), f the
posterior of the classifier, M a map, source and target the classes decided and asked for. All images are in [0, 1];
what a method makes is taken as an 8-bit file would keep it. Answers to images that were already decided as asked are left
out and counted.
Figures of an image are means with 95 % bootstrap intervals (1000 resamples; whole groups, e.g. patients, where the data
has them; a share of 0 or 1 gets the exact binomial interval). Figures of a set have 100 resamples up to 256 features,
and beside them the floor: as many real images as answers against the other real ones. n is printed with every figure.

What a figure needs is given to `evaluate`, on the command line with dashes (`--second-classifier`); a figure whose needs are not
there is left out, and the report says why:

"""


def document() -> str:
    """Return the whole page."""
    parts, question = [HEAD + "".join(f"- {need.replace('_', ' ')}: {said}\n" for need, said in NEEDS.items())], ""
    for name in METRICS:
        kind = metric(name)
        if kind.question != question:
            question = kind.question
            parts.append(f"## {question}\n")
        parts.append(section(kind))
    return "\n".join(parts)


def section(kind: type[Metric]) -> str:
    """Return the part of one metric."""
    labels = [one.label for one in kind.instances()]
    what = "a probe" if issubclass(kind, Probe) else "of a set" if issubclass(kind, SetMetric) else "of every image"
    needs = sorted(set().union(*(one.required for one in kind.instances())))
    unit = f", in {kind.unit}" if kind.unit else ""
    better = {"higher": "higher is better", "lower": "lower is better", "none": "neither is better"}[kind.better]
    lines = [
        f"### {kind.title} (`{kind.name}`)\n",
        f"{(kind.__doc__ or '').splitlines()[0]}\n",
        f"- Definition: {kind.formula}",
        f"- A figure {what}; {better}; from {_number(kind.range[0])} to {_number(kind.range[1])}{unit}"
        if what != "a probe" else f"- Measured by a probe; {better}{unit}",
        f"- Source: {kind.source}",
    ]  # fmt: skip
    if needs:
        lines.append(f"- Needs: {', '.join(need.replace('_', ' ') for need in needs)}")
    if len(labels) > 1:
        lines.append(f"- Rows: {'; '.join(labels)}")
    return "\n".join([*lines, "", kind.about, ""])


def _number(value: float) -> str:
    if math.isinf(value):
        return "no upper bound" if value > 0 else "no lower bound"
    return f"{value:g}"


if __name__ == "__main__":
    sys.stdout.write(document())
