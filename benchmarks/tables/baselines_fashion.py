"""Fashion-MNIST, t-shirts and pullovers: the same columns as for the digits."""

from __future__ import annotations

from benchmarks.table import Table, Training, Untrained
from benchmarks.tables.baselines_digits import CONTROLS, MAPS, METRICS, NOTES, SEARCHES, columns, explaingan, pgd

LENET = Training(method="classifier", settings={"architecture": "LeNet"}, steps=1000, batch_size=64, validate_every=100)

TABLE = Table(
    name="baselines-fashion",
    about="T-shirts and pullovers: what the papers compare with, and what doing next to nothing earns.",
    data="fashion-mnist:0,2",
    classifier=LENET,
    second_classifier=LENET,
    rows={
        **CONTROLS,
        **pgd(72 / 255),
        **SEARCHES,
        "ExplainGAN": explaingan(0.1),
        "noise as large as CVE's change": Untrained(method="adversarial_noise", explainer="CVE"),
        **MAPS,
    },
    metrics=METRICS,
    test_count=128,
    paper=columns("fmnist"),
    notes=(*NOTES, "The pair is the first of C3LT's three."),
)
