"""A CycleGAN, which asks no classifier, beside C3LT on digits: its table 6, and its supplement D without the classifier."""

from __future__ import annotations

from benchmarks.table import Paper, Table, Training, Untrained
from benchmarks.tables.c3lt_mnist import ABLATION, METRICS, short
from benchmarks.tables.syce_digits import DIGITS, LENET

CYCLEGAN = Training(
    method="cyclegan",
    settings={"augment": DIGITS, "depth": 2, "soft": 0.02, "penalty": 0.5, "critic_hidden": 0},
    steps=2600,
    batch_size=64,
    max_minutes=45,
)
"""As the digits table trains it, but on images by label, so that no classifier takes part."""


def table(first: str, second: str) -> Table:
    """Return the table of one pair of digits."""
    return Table(
        name=f"c3lt-cyclegan-{first}{second}",
        about=f"Digits {first} and {second}: what a CycleGAN, which asks no classifier, makes of them.",
        data=f"mnist:{first},{second}",
        classifier=LENET,
        second_classifier=LENET,
        rows={
            "real images": Untrained(method="identity"),
            "C3LT": short({}),
            "CycleGAN": CYCLEGAN,
        },
        metrics=METRICS,
        paper=tuple(
            Paper(paper="c3lt", table="table_6_cyclegan_mnist", row=row, column=column, metric=label, scale=scale)
            for row in ("C3LT", "CycleGAN")
            for label, (column, scale) in ABLATION.items()
        ),
        notes=(
            "The paper's figures are means of three pairs; ours are of one pair, both directions.",
            "CycleGAN's domains are labels; the classifier says which way an image is taken, and judges.",
            "C3LT is declared in a run of ten minutes and measured where it stands; its longer runs are in c3lt-mnist-49.",
            "IM1 and IM2 depend on the autoencoders, whose shape the paper does not give.",
        ),
    )


TABLES = (table("4", "9"), table("1", "4"))
