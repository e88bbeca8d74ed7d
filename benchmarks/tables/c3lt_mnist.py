"""C3LT on digits, one table a pair of classes: its tables 1 to 4."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from benchmarks.table import Paper, Row, Table, Training, Untrained
from benchmarks.tables.baselines_digits import columns, explaingan, pgd
from benchmarks.tables.syce_digits import LENET
from obverse.methods.c3lt import C3LT

GAN = Training(method="gan", steps=6000, batch_size=64, validate_every=500, max_minutes=60)
VAE = Training(method="vae", steps=4000, batch_size=64, validate_every=500, max_minutes=15)

EARLIER = {"margin": 5.0}
"""The class term as it was by default before it asked what the classifier makes of the target's images."""

REFINED = {"refine_steps": 30, "confidence": 0.9}
"""What is asked of the trained C3LT beside a forward pass."""


def c3lt(settings: Mapping[str, Any], minutes: float = 40) -> Training:
    """Return C3LT, trained on images of the classifier's decisions."""
    return Training(
        method="c3lt", settings=settings, steps=2000, batch_size=128, validate_every=500, max_minutes=minutes, model=GAN
    )


def short(settings: Mapping[str, Any]) -> Training:
    """Return C3LT in a run of at most ten minutes."""
    return dataclasses.replace(c3lt(settings), steps=1200, batch_size=128, validate_every=300, max_minutes=10)


def asked(name: str, settings: Mapping[str, Any], minutes: float = 40) -> dict[str, Row]:
    """Return the rows of C3LT trained once with these settings and asked in several ways."""
    trained = c3lt(settings, minutes)
    return {
        name: trained,
        f"{name}, the images of xGEM": dataclasses.replace(trained, test_count=128),
        f"{name}, the model's picture": dataclasses.replace(trained, after={"own_pixels": 0.0}),
        f"{name}, refined": dataclasses.replace(trained, after=REFINED),
    }


def rows(kappa: float, epsilon: float) -> dict[str, Row]:
    """Return the methods that C3LT is compared with, the slow ones on the first test images of each class.

    Args:
        kappa: ExplainGAN's share of the picture that may change.
        epsilon: PGD's radius.
    """
    attacks = pgd(epsilon)
    return {
        "real images": Untrained(method="identity"),
        "nearest image": Untrained(method="nearest", settings={"space": "pixels"}),
        **asked("C3LT", {}, minutes=60),
        **asked("C3LT, closer", C3LT.preset_settings("closer")),
        **asked("C3LT, margin 5", EARLIER),
        "C3LT, margin 5, refined, more own pixels": dataclasses.replace(c3lt(EARLIER), after=REFINED | {"own_pixels": 0.5}),
        "C3LT, margin 5, population 20": c3lt({"population": 20.0, **EARLIER}),
        "C3LT, 10 minutes": short({}),
        "C3LT, 10 minutes, from samples alone": dataclasses.replace(short({}), samples=True),
        "C3LT, 10 minutes, margin 5": short(EARLIER),
        "C3LT, 10 minutes, margin 5, from samples alone": dataclasses.replace(short(EARLIER), samples=True),
        "C3LT, 10 minutes, as published": short(C3LT.preset_settings("published")),
        "ExplainGAN": explaingan(kappa),
        "xGEM": Untrained(method="xgem", model=VAE, test_count=128),
        "CEM": Untrained(method="cem", autoencoder=True, test_count=128),
        "CVE": Untrained(method="cve", test_count=128),
        "PGD": dataclasses.replace(attacks["PGD"], test_count=128),
        "PGD, stopped at 0.6": dataclasses.replace(attacks["PGD, stopped at 0.6"], test_count=256),
    }


METRICS = (
    "validity",
    "transfer",
    "cout",
    "aupc_target",
    "aupc_source",
    "l1",
    "l1_paper",
    "residual",
    "represented",
    "im1",
    "im2",
    "frechet",
    "kernel_distance",
    "seconds",
)
ABLATION = {
    "COUT": ("cout+", 1.0),
    "IM1": ("im1-", 1.0),
    "IM2": ("im2x10-", 0.1),
    "L1 on [-1, 1] (C3LT's scale)": ("prox-", 1.0),
    "validity (Val)": ("val+", 1.0),
}
"""Figures of tables 5 and 6 that ours can be compared with."""


def own(data: str) -> tuple[Paper, ...]:
    """Return C3LT's own row of its tables 1 to 3, for "mnist" or "fmnist"."""
    where = {
        "COUT": ("table_1_cout", "cout+", 1.0),
        "AUPC of the target": ("table_1_cout", "aupc_target+", 1.0),
        "AUPC of the source": ("table_1_cout", "aupc_query-", 1.0),
        "IM1": ("table_2_realism", "im1-", 1.0),
        "IM2": ("table_2_realism", "im2x10-", 0.1),
        "L1 on [-1, 1] (C3LT's scale)": ("table_3_proximity_validity", "prox-", 1.0),
        "validity (Val)": ("table_3_proximity_validity", "val+", 1.0),
    }
    return tuple(
        Paper(paper="c3lt", table=table, row="C3LT", column=f"{data}_{column}", metric=label, scale=scale)
        for label, (table, column, scale) in where.items()
    )


COMMON = (
    "The classifier decides between the two classes of the pair; the paper's between all ten.",
    "The paper's figures are means of three pairs; ours are of one pair, both directions.",
    "Generator and encoder are one DCGAN, trained on the images of the pair (see `residual` for its error).",
    "The paper's FID and KID are on Inception features of unnamed weights: nothing stands beside ours.",
    "IM1 and IM2 depend on the autoencoders, whose shape the paper does not give.",
    "Its seconds are an RTX 2080 Ti's.",
    "All rows are of one machine, one classifier, one generator and the same judges; each training ran on one core.",
)
NOTES = (
    *COMMON,
    "Margin 5 is of before the class term asked for log-odds as of the median image of the class. Closer is the preset of that "
    "name, a population of 25 instead of 50: fewer changes, for less of the other class's look.",
    "C3LT's weights, its class term, its population and own pixels are ours; rows with the published ones and from samples "
    "alone are declared for every pair, and measured where they stand.",
    "Nearest image: the training image of the other class that is nearest pixel by pixel; real, and of something else.",
    "10 minutes are 1200 steps, or as many as they hold, the others 2000.",
    "C3LT keeps the image's own pixels where the model's picture does not change, so it has no stable image. The model's "
    "picture is the same walks without that: its residual and its L1 to the stable image stand beside.",
)


def table(first: str, second: str) -> Table:
    """Return the table of one pair of digits."""
    return Table(
        name=f"c3lt-mnist-{first}{second}",
        about=f"Digits {first} and {second}: C3LT and what it is compared with, in few changes, validity and realism.",
        data=f"mnist:{first},{second}",
        classifier=LENET,
        second_classifier=LENET,
        rows=rows(0.05, 64 / 255),
        metrics=METRICS,
        paper=(*own("mnist"), *real_rows("mnist")),
        notes=NOTES,
    )


def real_rows(data: str) -> tuple[Paper, ...]:
    """Return the rows of the other methods, and of real images."""
    named = {"nothing": "real images"}
    return tuple(dataclasses.replace(printed, ours=named.get(printed.ours, printed.ours)) for printed in columns(data))


PAIRS = (("3", "8"), ("4", "9"), ("5", "6"))
TABLES = tuple(table(*pair) for pair in PAIRS)
