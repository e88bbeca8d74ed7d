"""C3LT's terms added one by one on digits, one table a pair of classes: its table 5."""

from __future__ import annotations

import dataclasses

from benchmarks.table import Paper, Table
from benchmarks.tables.c3lt_mnist import ABLATION, COMMON, EARLIER, METRICS, PAIRS, c3lt
from benchmarks.tables.syce_digits import LENET

OFF = {
    "cls": {"proximity": 0.0, "cycle": 0.0, "adversarial": 0.0, "population": 0.0, "own_pixels": 0.0},
    "cls+prox": {"cycle": 0.0, "adversarial": 0.0, "population": 0.0, "own_pixels": 0.0},
    "cls+prox+cyc": {"adversarial": 0.0, "population": 0.0, "own_pixels": 0.0},
    "cls+prox+cyc+adv": {"population": 0.0, "own_pixels": 0.0},
    "all, and the population": {"own_pixels": 0.0},
    "all, the population and own pixels": {},
}
"""Row to what is switched off; the last two add what the paper does not have."""


def table(first: str, second: str) -> Table:
    """Return the table of one pair of digits; all are short runs of equally many steps."""
    return Table(
        name=f"c3lt-ablation-{first}{second}",
        about=f"Digits {first} and {second}: what each term of C3LT is good for.",
        data=f"mnist:{first},{second}",
        classifier=LENET,
        second_classifier=LENET,
        rows={
            name: dataclasses.replace(c3lt({**EARLIER, **off}), steps=600, validate_every=200) for name, off in OFF.items()
        },
        metrics=METRICS,
        paper=tuple(
            Paper(paper="c3lt", table="table_5_ablation_mnist", row=row, column=column, metric=label, scale=scale)
            for row in tuple(OFF)[:4]
            for label, (column, scale) in ABLATION.items()
        ),
        notes=(
            *COMMON,
            "Weights, class term (up to log-odds of 5), population and own pixels are ours. All rows are 600 steps, and only the "
            "last keeps the image's own pixels.",
        ),
    )


TABLES = tuple(table(*pair) for pair in PAIRS)
