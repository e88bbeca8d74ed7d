"""C3LT's terms added one by one on digits, and a CycleGAN beside them, one table a pair of classes: its tables 5 and 6."""

from __future__ import annotations

from benchmarks.table import Paper, Table, Training
from benchmarks.tables.c3lt_mnist import ABLATION, COMMON, METRICS, PAIRS, short
from benchmarks.tables.syce_digits import DIGITS, LENET

OFF = {
    "cls": {"proximity": 0.0, "cycle": 0.0, "adversarial": 0.0, "population": 0.0, "own_pixels": 0.0},
    "cls+prox": {"cycle": 0.0, "adversarial": 0.0, "population": 0.0, "own_pixels": 0.0},
    "cls+prox+cyc": {"adversarial": 0.0, "population": 0.0, "own_pixels": 0.0},
    "cls+prox+cyc+adv": {"population": 0.0, "own_pixels": 0.0},
    "all, and the population": {"own_pixels": 0.0},
    "all, the population and own pixels": {},
}
"""Row to what is switched off; the last two add what the paper does not have."""

CYCLEGAN = Training(
    method="cyclegan",
    settings={"augment": DIGITS, "depth": 2, "soft": 0.02, "penalty": 0.5, "critic_hidden": 0},
    steps=2600,
    batch_size=64,
    max_minutes=45,
)
"""As the digits table trains it, but on images by label: it never asks the classifier."""


PRINTED = dict.fromkeys(tuple(OFF)[:4], "table_5_ablation_mnist") | {"CycleGAN": "table_6_cyclegan_mnist"}
"""Row to the paper's table that has it."""


def table(first: str, second: str) -> Table:
    """Return the table of one pair of digits; C3LT's are short runs, the last of them with its defaults."""
    return Table(
        name=f"c3lt-ablation-{first}{second}",
        about=f"Digits {first} and {second}: what each term of C3LT is good for, and a CycleGAN.",
        data=f"mnist:{first},{second}",
        classifier=LENET,
        second_classifier=LENET,
        rows={**{name: short(settings) for name, settings in OFF.items()}, "CycleGAN": CYCLEGAN},
        metrics=METRICS,
        paper=tuple(
            Paper(paper="c3lt", table=printed, row=row, column=column, metric=label, scale=scale)
            for row, printed in PRINTED.items()
            for label, (column, scale) in ABLATION.items()
        ),
        notes=(
            *COMMON,
            "Weights, class term, population and own pixels are ours. C3LT's rows are 1200 steps, or as many as 10 "
            "minutes hold; only the last of them keeps the image's own pixels.",
            "CycleGAN's domains are labels; the classifier says which way an image is taken, and judges.",
        ),
    )


TABLES = tuple(table(*pair) for pair in PAIRS)
