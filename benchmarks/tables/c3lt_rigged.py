"""A classifier that never saw a 9, explained by C3LT (its supplement D, fig. 7)."""

from __future__ import annotations

from benchmarks.table import Table
from benchmarks.tables.c3lt_mnist import EARLIER, METRICS, short
from benchmarks.tables.ten_digits import LENET

TABLE = Table(
    name="c3lt-rigged",
    about="4 into 9 and 4 into 1 for a classifier that never saw a 9: do the counterfactuals tell that it knows no 9?",
    data="mnist",
    classifier=LENET,
    unseen=("9",),
    second_classifier=LENET,
    rows={
        "4 to 9": short({"pairs": [["4", "9"]], "domains": "label", **EARLIER}),
        "4 to 1": short({"pairs": [["4", "1"]], "domains": "label", **EARLIER}),
    },
    metrics=("transfer_validity", *(name for name in METRICS if name not in ("im1", "im2"))),
    test_classes=("4",),
    notes=(
        "IM1 and IM2 are left out: they need an autoencoder of each of ten digits.",
        "Only test images of a 4 are explained. Training images are taken by label, since the classifier decides 9 for none.",
        "The second classifier saw all ten digits: `transfer_validity` is the agreement of an honest one, over all answers.",
        "The paper shows pictures and no figures. A CycleGAN never asks the classifier, so it cannot tell them apart: "
        "c3lt-cyclegan-49, and c3lt-cyclegan-14, which is declared and not measured yet.",
    ),
)
