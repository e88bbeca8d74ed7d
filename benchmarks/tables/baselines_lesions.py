"""Generated lesions: CX-GAN's columns of CAM, Grad-CAM and CXPlain, SyCE's of gradient, IG and BBMP, and C3LT's."""

from __future__ import annotations

from benchmarks.table import Paper, Row, Table, Training, Untrained
from benchmarks.tables.baselines_digits import columns

COVERED = {"fill": "blur"}
"""The images are grey: a black patch is stranger than a lesion, and what it covers no matter."""
ROWS: dict[str, Row] = {
    "raw image": Untrained(method="raw_image"),
    "image minus blur": Untrained(method="image_minus_blur"),
    "random map": Untrained(method="random_map"),
    "gradient": Untrained(method="gradient"),
    "SmoothGrad": Untrained(method="smoothgrad"),
    "IG": Untrained(method="integrated_gradients"),
    "occlusion": Untrained(method="occlusion", settings=COVERED),
    "Grad-CAM": Untrained(method="gradcam"),
    "BBMP": Untrained(method="bbmp"),
    "CXPlain": Training(
        method="cxplain", settings={"cell": 8} | COVERED, steps=600, batch_size=16, validate_every=100, max_minutes=20
    ),
    "MGen": Training(method="mgen", steps=1500, batch_size=16, max_minutes=8),
    "nothing": Untrained(method="identity"),
    "reconstruction": Untrained(method="reconstruction", autoencoder=True),
    "mean image": Untrained(method="mean_image"),
    "nearest image": Untrained(method="nearest"),
    "PGD": Untrained(method="pgd"),
    "Wachter": Untrained(method="wachter"),
    "CVE": Untrained(method="cve"),
    "CEM": Untrained(method="cem", settings={"change": "any"}),
    "noise as large as Wachter's change": Untrained(method="adversarial_noise", explainer="Wachter"),
}
METRICS = (
    "validity",
    "transfer",
    "transfer_acc_a",
    "l1",
    "l1_paper",
    "changed_share",
    "masked_ssim",
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
    "iou",
    "dice",
    "average_precision",
    "ncc",
    "pointing_game",
    "twin_distance",
    "true_difference",
    "lesion_left",
    "map_area",
    "seconds",
)
CLASSIFIER = Training(
    method="classifier",
    settings={"architecture": "ResNet", "width": 8, "learning_rate": 3e-3, "noise": 0.05, "stride": 1},
    steps=800,
    batch_size=64,
    validate_every=100,
)
MEAN = Training(
    method="classifier",
    settings={"architecture": "MeanResNet", "width": 8, "learning_rate": 1e-3, "stride": 2},
    steps=1000,
    batch_size=64,
    validate_every=100,
)
"""Without noise, which an average over 4096 pixels makes hard to start from; at 3e-3 the features can die for good."""


def cxgan(row: str, ours: str) -> tuple[Paper, ...]:
    """Return the printed IoU, Dice and NCC of a row of CX-GAN's table 1."""
    where = {"iou_percent+": ("IoU, attribution", 0.01), "dice_percent+": ("Dice, attribution", 0.01),
             "ncc_mean+": ("NCC, attribution", 1.0)}  # fmt: skip
    return tuple(
        Paper(paper="cx-gan", table="table_1_synthetic_localization", row=row, column=column, metric=label, ours=ours,
              scale=scale)
        for column, (label, scale) in where.items() if not (row == "CXPlain" and column.startswith("ncc"))  # not printed
    )  # fmt: skip


def syce(row: str, ours: str, column: str) -> tuple[Paper, ...]:
    """Return the printed IoU at a percentile, and the NCC, of a row of SyCE's table S6."""
    return tuple(
        Paper(paper="syce", table="table_S6_localization_tumor_resnet50", row=row, column=name, metric=label, ours=ours)
        for name, label in ((column, "IoU, attribution, percentile"), ("ncc+", "NCC, attribution"))
    )


SYCE_ROWS = (("Gradient", "gradient"), ("IG", "IG"), ("GradCAM", "Grad-CAM"), ("BBMP", "BBMP"), ("MGen", "MGen"))
SYCE_PAPERS = tuple(paper for row, ours in SYCE_ROWS for paper in syce(row, ours, "iou98+"))
C3LT_PAPERS = tuple(paper for paper in columns("mnist") if (paper.ours or paper.row) in ROWS)
SHARED = (
    "C3LT's figures (tables 1 to 3) are of MNIST, those of SyCE (table S6, IoU of the 2 % highest pixels, and NCC) of brain "
    "tumours: for the order of size only. Where a cell has several printed figures, C3LT's come first, then CX-GAN's, then "
    "SyCE's.",
    "PGD stops once the target has a posterior of 0.6; C3LT's takes all its steps.",
    "CEM may darken pixels as well as brighten them (change: any), since here zero is no background, and has no autoencoder "
    "term.",
)
NOTES = (
    "64 pixels and an amplitude of 2 noise deviations, where a threshold on the raw image does badly; CX-GAN's has 10, where "
    "it scores a Dice of 0.999, so its figures are of an easier task.",
    "CX-GAN's classifiers and the cut of its maps are not published: here one threshold, chosen on validation.",
)

TABLE = Table(
    name="baselines-lesions",
    about="Generated lesions, where the truth is known: do the maps find the disc, and do the images lose it?",
    data="lesions",
    size=64,
    test_count=60,
    counts={"validation": 400, "test": 400},
    classifier=CLASSIFIER,
    second_classifier=CLASSIFIER,
    rows=ROWS,
    metrics=METRICS,
    paper=(*C3LT_PAPERS, *cxgan("GradCAM", "Grad-CAM"), *cxgan("CXPlain", "CXPlain"), *SYCE_PAPERS),
    notes=(*NOTES, *SHARED),
)
CAM = Table(
    name="baselines-lesions-cam",
    about="The same for a classifier that ends in a global average, which CAM needs.",
    data="lesions",
    size=64,
    counts=TABLE.counts,
    test_count=100,
    classifier=MEAN,
    rows={name: ROWS[name] for name in ("gradient", "Grad-CAM")} | {"CAM": Untrained(method="cam")},
    metrics=METRICS,
    paper=(*cxgan("CAM", "CAM"), *cxgan("GradCAM", "Grad-CAM")),
    notes=NOTES,
)
