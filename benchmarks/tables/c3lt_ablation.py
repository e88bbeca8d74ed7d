"""C3LT's terms added one by one on digits, one table a pair of classes: its table 5."""

from __future__ import annotations

from benchmarks.table import Paper, Table
from benchmarks.tables.c3lt_mnist import ABLATION, METRICS, NOTES, OLDER, OLDER_NOTES, PAIRS, short
from benchmarks.tables.syce_digits import LENET

OFF = {
    "cls": {"proximity": 0.0, "cycle": 0.0, "adversarial": 0.0, "population": 0.0},
    "cls+prox": {"cycle": 0.0, "adversarial": 0.0, "population": 0.0},
    "cls+prox+cyc": {"adversarial": 0.0, "population": 0.0},
    "cls+prox+cyc+adv": {"population": 0.0},
    "all, and the population": {},
}
"""Row to the terms that are switched off; the last is of a term that the paper does not have."""


def table(first: str, second: str) -> Table:
    """Return the table of one pair of digits; all are short runs, the last is C3LT's own from the cache."""
    return Table(
        name=f"c3lt-ablation-{first}{second}",
        about=f"Digits {first} and {second}: what each term of C3LT is good for.",
        data=f"mnist:{first},{second}",
        classifier=LENET,
        second_classifier=LENET,
        rows={name: short({**OLDER, **settings}) for name, settings in OFF.items()},
        metrics=METRICS,
        paper=tuple(
            Paper(paper="c3lt", table="table_5_ablation_mnist", row=row, column=column, metric=label, scale=scale)
            for row in tuple(OFF)[:4]
            for label, (column, scale) in ABLATION.items()
        ),
        notes=(*NOTES, *OLDER_NOTES),
    )


TABLES = tuple(table(*pair) for pair in PAIRS)
