"""The tables of baselines on lesions and tiles: the columns of all three papers, and what their notes must say."""

import pytest

from benchmarks.tables import TABLES

OF_C3LT = {"aupc_target", "aupc_source", "im1", "im2", "frechet", "kernel_distance", "l1_paper"}


@pytest.mark.parametrize("name", ["baselines-lesions", "baselines-tile"])
def test_the_columns_of_all_papers_are_there(name):
    table = TABLES[name]
    assert set(table.metrics) >= OF_C3LT
    assert table.test_count >= 50  # distances of sets need as many answers of a class
    printed = {(p.paper, p.ours or p.row, p.metric): p.value() for p in table.paper}
    assert printed["c3lt", "PGD", "COUT"] == 0.471 and printed["c3lt", "CVE", "COUT, after each edit"] == -0.557
    assert printed["cx-gan", "CXPlain", "Dice, attribution"] == pytest.approx(0.2788)
    assert printed["syce", "BBMP", "IoU, attribution, percentile"] == 0.29
    notes = " ".join(table.notes)
    assert "for the order of size only" in notes and "no autoencoder term" in notes
    cem = table.rows["CEM"]
    assert cem.settings == {"change": "any"} and not cem.autoencoder


def test_the_tile_tables_are_small_and_say_how_uneven_the_classes_are():
    for name in ("baselines-tile", "baselines-tile-cam"):
        table = TABLES[name]
        assert table.test_count == {"baselines-tile": 62}.get(name, 20) and "70.5 %" in " ".join(table.notes)
    cam = TABLES["baselines-tile-cam"]
    assert cam.classifier.settings["architecture"] == "MeanResNet" and "CAM" in cam.rows
    assert {p.ours for p in cam.paper} == {"CAM", "Grad-CAM"}
