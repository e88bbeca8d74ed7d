"""The knob of Progressive Exaggeration on coats and shirts (EPE tables 1 and 2, figs 3 and 4c)."""

import dataclasses

from benchmarks.table import Table, Training
from benchmarks.tables import knob_digits

LENET = Training(
    method="classifier",
    settings={"architecture": "LeNet", "augment": {"horizontal_flip": 0.5}},
    steps=1500,
    batch_size=64,
    validate_every=150,
)
EPE = dataclasses.replace(knob_digits.EPE, settings=knob_digits.CLASS_TERM | {"augment": {"horizontal_flip": 0.5}})

TABLE = Table(
    name="knob-fashion",
    about="Coats and shirts: is the posterior that is asked for the one that is obtained, and is it still the same garment?",
    data="fashion-mnist:4,6",
    classifier=LENET,
    second_classifier=LENET,
    rows={"EPE": EPE, "EPE, knob searched": dataclasses.replace(EPE, after={"search": 6}), **knob_digits.OTHERS},
    metrics=knob_digits.METRICS,
    notes=(*knob_digits.NOTES, knob_digits.OLDER),
)
