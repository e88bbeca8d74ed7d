"""One file a table; the table TABLES."""

from __future__ import annotations

from benchmarks.table import Table
from benchmarks.tables import (
    baselines_digits,
    baselines_fashion,
    baselines_lesions,
    baselines_tile,
    c3lt_ablation,
    c3lt_cyclegan,
    c3lt_fashion,
    c3lt_mnist,
    c3lt_rigged,
    digits,
    full,
    knob_ablation,
    knob_brain,
    knob_digits,
    knob_fashion,
    lesions,
    medxgan_brain,
    syce_digits,
    ten_digits,
)

KNOB = (knob_digits.TABLE, knob_fashion.TABLE, knob_brain.TABLE, knob_ablation.TABLE)
BASELINES = (baselines_digits.TABLE, baselines_fashion.TABLE, baselines_lesions.TABLE, baselines_lesions.CAM,
             baselines_tile.TABLE, baselines_tile.CAM)  # fmt: skip
C3LT = (*c3lt_mnist.TABLES, *c3lt_fashion.TABLES, *c3lt_ablation.TABLES, c3lt_rigged.TABLE, *c3lt_cyclegan.TABLES)
FIRST = (syce_digits.TABLE, digits.TABLE, ten_digits.TABLE, lesions.TABLE, lesions.SMALL)
EVERY = (*FIRST, *full.TABLES, *KNOB, medxgan_brain.TABLE, *BASELINES, *C3LT)
TABLES: dict[str, Table] = {table.name: table for table in EVERY}
