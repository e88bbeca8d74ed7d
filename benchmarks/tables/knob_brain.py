"""The knob of Progressive Exaggeration on brain MRI with and without a tumour, 64 px (EPE tables 1 and 2, figs 3 and 4c)."""

import dataclasses

from benchmarks.table import Table, Training
from benchmarks.tables import knob_digits

TURNED = {"rotation": 10.0, "horizontal_flip": 0.5, "shift": 0.05, "zoom": [0.9, 1.1]}
RESNET = Training(
    method="classifier",
    settings={
        "architecture": "MeanResNet",
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "noise": 0.02,
        "balance": True,
        "augment": TURNED,
    },
    steps=2000,
    batch_size=32,
    validate_every=200,
    max_minutes=30,
)
# narrower than the digits: 64 px are five times as many pixels, and 2 cores have an hour
EPE = Training(
    method="exaggeration",
    settings=knob_digits.CLASS_TERM | {"width": 12, "critic_width": 12, "augment": {"horizontal_flip": 0.5}},
    steps=3000,
    batch_size=32,
    validate_every=250,
    max_minutes=60,
)
VAE = dataclasses.replace(knob_digits.VAE, settings={"latent_size": 64}, batch_size=32)
OTHERS = knob_digits.OTHERS | {"xGEM": dataclasses.replace(knob_digits.OTHERS["xGEM"], model=VAE, test_count=60)}

TABLE = Table(
    name="knob-brain",
    about="Brain MRI, tumour or none: is the posterior that is asked for the one that is obtained, and is it the same head?",
    data="brain-mri:tumour",
    size=64,
    classifier=RESNET,
    second_classifier=RESNET,
    rows={"EPE": EPE, "EPE, knob searched": dataclasses.replace(EPE, after={"search": 6}), **OTHERS},
    metrics=knob_digits.METRICS,
    notes=(
        *knob_digits.NOTES,
        "Generator and critic have width 12, so that an hour on 2 cores is enough (released: 64).",
    ),
)
