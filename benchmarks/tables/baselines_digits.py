"""The digits 3 and 8: the columns of CEM, CVE, PGD and ExplainGAN in C3LT's tables 1 to 3, beside controls and maps."""

from __future__ import annotations

from benchmarks.table import Paper, Row, Table, Training, Untrained
from benchmarks.tables.syce_digits import LENET
from benchmarks.tables.syce_digits import TABLE as SYCE

CONTROLS: dict[str, Row] = {
    "nothing": Untrained(method="identity"),
    "mean image": Untrained(method="mean_image"),
    "nearest image": Untrained(method="nearest"),
    "reconstruction": Untrained(method="reconstruction", autoencoder=True),
}
"""What any figure must beat."""
SEARCHES: dict[str, Row] = {
    "CVE": Untrained(method="cve"),
    "Wachter": Untrained(method="wachter"),
    "CEM": Untrained(method="cem", autoencoder=True),
    "CEM, no autoencoder": Untrained(method="cem"),
}
MAPS: dict[str, Row] = {
    "random map": Untrained(method="random_map"),
    "gradient": Untrained(method="gradient"),
    "SmoothGrad": Untrained(method="smoothgrad"),
    "IG": Untrained(method="integrated_gradients"),
    "occlusion": Untrained(method="occlusion"),
    "Grad-CAM": Untrained(method="gradcam"),
    "BBMP": Untrained(method="bbmp"),
    "CXPlain": Training(
        method="cxplain", settings={"cell": 2}, steps=400, batch_size=32, validate_every=100, max_minutes=10
    ),
}
METRICS = (
    "validity",
    "acc_a",
    "transfer",
    "transfer_acc_a",
    "posterior_gain",
    "l1",
    "l1_paper",
    "changed_share",
    "ssim",
    "cout",
    "aupc_target",
    "aupc_source",
    "deletion",
    "insertion",
    "confidence_drop",
    "frechet",
    "kernel_distance",
    "im1",
    "im2",
    "map_area",
    "seconds",
)


def pgd(epsilon: float) -> dict[str, Untrained]:
    """Return C3LT's attack, which takes all its steps, and ours, which stops, in the ball of this radius and half of it."""
    half = {"epsilon": epsilon / 2, "rate": 0.5 / 255}
    return {
        "PGD": Untrained(method="pgd", preset="published", settings={"epsilon": epsilon}),
        "PGD, stopped at 0.6": Untrained(method="pgd", settings={"epsilon": epsilon}),
        "PGD, half the ball, stopped at 0.6": Untrained(method="pgd", settings=half),
    }


def explaingan(kappa: float) -> Training:
    """Return ExplainGAN with the share of pixels that may change freely."""
    return Training(method="explaingan", settings={"kappa": kappa}, steps=3000, batch_size=64, max_minutes=40)


ORDERS = {"CVE": ", after each edit", "ExplainGAN": ", by the method's own mask"}
"""In which order C3LT exchanges the pixels of methods that make a mask of their own (section 4.3.1)."""


def columns(data: str) -> tuple[Paper, ...]:
    """Return C3LT's tables 1 to 3 for "mnist" or "fmnist": COUT is CVE's after each edit, ExplainGAN's by its own mask."""
    found = []
    for name in ("PGD", "CEM", "CVE", "ExplainGAN"):
        order = ORDERS.get(name, "")
        table = {
            f"COUT{order}": ("table_1_cout", "cout+", 1.0),
            f"AUPC of the target{order}": ("table_1_cout", "aupc_target+", 1.0),
            f"AUPC of the source{order}": ("table_1_cout", "aupc_query-", 1.0),
            "IM1": ("table_2_realism", "im1-", 1.0),
            "IM2": ("table_2_realism", "im2x10-", 0.1),
            "L1 on [-1, 1] (C3LT's scale)": ("table_3_proximity_validity", "prox-", 1.0),
            "validity (Val)": ("table_3_proximity_validity", "val+", 1.0),
        }
        for label, (where, column, scale) in table.items():
            found.append(
                Paper(paper="c3lt", table=where, row=name, column=f"{data}_{column}", metric=label, scale=scale)
            )
    for label, column, scale in (("IM1", "im1-", 1.0), ("IM2", "im2x10-", 0.1)):
        found.append(Paper(paper="c3lt", table="table_2_realism", row="real data", column=f"{data}_{column}",
                           metric=f"{label}, real images (floor)", ours="nothing", scale=scale))  # fmt: skip
    return tuple(found)


SECONDS = tuple(
    Paper(paper="c3lt", table="table_4_seconds_per_sample_mnist", row=name, column="seconds-", metric=label)
    for name, label in (("CEM", "seconds, one image"), ("CVE", "seconds, one image"), ("ExplainGAN", "seconds per image"))
)
"""C3LT's table 4: CEM and CVE were given one image at a time, ExplainGAN 256."""
NOTES = (
    "C3LT's figures are means of three pairs of classes and of one direction each; ours are of one pair and both directions.",
    "Its FID and KID are on features of Inception with weights that it does not name: nothing stands beside ours, which are "
    "on the classifier's features.",
    "IM1 and IM2 depend on the autoencoders, whose shape it does not give.",
    "PGD takes 1000 steps for every image, as C3LT's; stopped at 0.6 it ends once the target has that posterior.",
    "PGD's ball is read on [0, 1]; half of it is what C3LT's numbers say on [-1, 1].",
    "Its seconds are an RTX 2080 Ti's; our CEM makes 3 searches of 300 steps, the one published 9 of 1000.",
    "All rows are of the same test images, the first 128 of each class.",
)

TABLE = Table(
    name="baselines-digits",
    about="Digits 3 and 8: what the papers compare with, and what doing next to nothing earns.",
    data="mnist:3,8",
    classifier=LENET,
    second_classifier=LENET,
    rows={
        **CONTROLS,
        **pgd(64 / 255),
        **SEARCHES,
        "ExplainGAN": explaingan(0.05),
        "SyCE": SYCE.rows["SyCE"],
        "noise as large as SyCE's change": Untrained(method="adversarial_noise", explainer="SyCE"),
        **MAPS,
        "IG from SyCE's counterfactual": Untrained(
            method="integrated_gradients", settings={"baseline": "counterfactual"}, explainer="SyCE"
        ),
    },
    metrics=METRICS,
    test_count=128,
    paper=(*columns("mnist"), *SECONDS),
    notes=NOTES,
)
