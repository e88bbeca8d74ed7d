import json

import numpy as np
import pytest
from PIL import Image

from obverse.figures import pixels
from obverse.report.files import save_explanation
from tiny import MapOnly, Negative, corner_classifier, corner_data


def test_sheets_counterfactuals_and_results(tmp_path):
    classifier, image = corner_classifier(), corner_data()[:2].image
    answer = Negative(classifier).explain(image)
    written = save_explanation(answer, tmp_path / "out", ["a/scan.png", "b/scan.png"])
    assert [path.name for path in written] == ["scan.png", "scan-2.png", "result.json"]
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["method"] == "negative" and result["classifier"] == classifier.fingerprint
    for row, one in enumerate(result["answers"]):
        assert one["valid"] == bool(answer.valid[row]) and one["words"] == answer.words(row)
        assert one["source"] == answer.classes[int(answer.source[row])]
        assert sum(one["posterior after"].values()) == pytest.approx(1, abs=1e-4)
        saved = np.asarray(Image.open(tmp_path / "out" / one["counterfactual"]))
        assert np.array_equal(saved, pixels(answer.counterfactual[row]))
    assert result["answers"][1]["image"] == "b/scan.png"


def test_attributions_have_no_counterfactual_file(tmp_path):
    answer = MapOnly(corner_classifier()).explain(corner_data()[:1].image)
    save_explanation(answer, tmp_path, ["x.png"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "x.png"]


def test_one_name_an_image(tmp_path):
    answer = Negative(corner_classifier()).explain(corner_data()[:2].image)
    with pytest.raises(ValueError, match="names: expected 2, one an image, got 1"):
        save_explanation(answer, tmp_path, ["x.png"])


def test_an_image_that_is_explained_is_never_replaced(tmp_path):
    answer, scan = Negative(corner_classifier()).explain(corner_data()[:1].image), tmp_path / "scan.png"
    scan.write_bytes(b"the only copy")
    with pytest.raises(ValueError, match=r"out: .*scan.png is one of the images that are explained, .*; choose another folder"):
        save_explanation(answer, tmp_path, [str(scan)])
    assert [path.name for path in tmp_path.iterdir()] == ["scan.png"] and scan.read_bytes() == b"the only copy"


@pytest.mark.parametrize("names", [("scan.png", "scan-counterfactual.png"), ("scan-counterfactual.png", "scan.png")])
def test_a_sheet_and_a_counterfactual_never_share_a_file(tmp_path, names):
    answer = Negative(corner_classifier()).explain(corner_data()[:2].image)
    save_explanation(answer, tmp_path, names)
    rows = json.loads((tmp_path / "result.json").read_text())["answers"]
    files = [row[kind] for row in rows for kind in ("sheet", "counterfactual")]
    assert len(set(files)) == 4 and {path.name for path in tmp_path.iterdir()} == {*files, "result.json"}
    for row, one in enumerate(rows):
        assert np.array_equal(np.asarray(Image.open(tmp_path / one["counterfactual"])), pixels(answer.counterfactual[row]))
