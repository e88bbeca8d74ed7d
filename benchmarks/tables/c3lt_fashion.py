"""C3LT on Fashion-MNIST, one table a pair of classes: its tables 1 to 3."""

from __future__ import annotations

from benchmarks.table import Table
from benchmarks.tables.baselines_fashion import LENET
from benchmarks.tables.c3lt_mnist import METRICS, NOTES, own, real_rows, rows

PAIRS = {"02": "t-shirts and pullovers", "46": "coats and shirts", "79": "sneakers and ankle boots"}


def table(pair: str, names: str) -> Table:
    """Return the table of one pair of classes."""
    return Table(
        name=f"c3lt-fashion-{pair}",
        about=f"{names.capitalize()}: C3LT and what it is compared with, in few changes, validity and realism.",
        data=f"fashion-mnist:{pair[0]},{pair[1]}",
        classifier=LENET,
        second_classifier=LENET,
        rows=rows(0.1, 72 / 255),
        metrics=METRICS,
        paper=(*own("fmnist"), *real_rows("fmnist")),
        notes=(*NOTES, "The paper's generator is a progressive GAN."),
    )


TABLES = tuple(table(pair, names) for pair, names in PAIRS.items())
