"""Magnetic tiles with and without defects, real ones with pixel masks: the localisation columns of SyCE's tables."""

from __future__ import annotations

from benchmarks.table import Table, Training
from benchmarks.tables.baselines_lesions import METRICS, ROWS, SYCE_ROWS, syce

# without the true twin, and without what takes minutes a map at 128 px
LEFT_OUT = ("twin_distance", "true_difference", "lesion_left", "deletion", "insertion")
WITHOUT_TWINS = tuple(name for name in METRICS if name not in LEFT_OUT)
TURNED = {"horizontal_flip": 0.5, "vertical_flip": 0.5, "shift": 0.05}
CLASSIFIER = Training(
    method="classifier",
    settings={
        "architecture": "ResNet", "width": 8, "local_contrast": True, "learning_rate": 3e-3, "weight_decay": 0.05,
        "noise": 0.02, "balance": True, "augment": TURNED,
    },
    steps=700,
    batch_size=32,
    validate_every=50,
    max_minutes=20,
)
# coarser than on small images: each image is classified once for every cell
CXPLAIN = Training(
    method="cxplain", settings={"cell": 16}, steps=300, batch_size=8, validate_every=150, max_minutes=20
)

TABLE = Table(
    name="baselines-tile",
    about="Real surface defects with pixel masks: do the maps find them?",
    data="magnetic-tile:defect",
    size=128,
    classifier=CLASSIFIER,
    second_classifier=CLASSIFIER,
    rows=ROWS | {"CXPlain": CXPLAIN},
    metrics=WITHOUT_TWINS,
    paper=tuple(paper for row, ours in SYCE_ROWS for paper in syce(row, ours, "iou98+")),
    notes=(
        "SyCE's figures (table S6, IoU of the 2 % highest pixels, and NCC) are of brain tumours, not of tiles: for the order "
        "of size only.",
        "Half of the defects cover less than 0.6 % of the tile, a quarter more than 30 %: the mean size that the percentile "
        "rule takes fits few of them.",
        "The images of a file series stay in one split.",
    ),
)
