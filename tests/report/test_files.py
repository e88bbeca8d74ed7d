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
