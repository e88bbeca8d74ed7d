import io

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.figures import (
    LESS,
    MORE,
    common_scale,
    curves,
    heat,
    knob_strip,
    outline,
    overlay,
    overlays,
    panels,
    pixels,
    png,
    sheet,
)
from tiny import MapOnly, Negative, Truth, corner_classifier, corner_data, explanation_of

GREY = torch.full((1, 2, 2), 0.5)


def test_pixels_keep_the_levels():
    image = torch.tensor([[[0.0, 1.0], [100 / 255, 2.0]]])
    assert pixels(image)[..., 0].tolist() == [[0, 255], [100, 255]]
    assert pixels(image).shape == (2, 2, 3)
    colour = torch.rand(3, 4, 5)
    assert np.abs(pixels(colour) / 255 - colour.permute(1, 2, 0).numpy()).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(pixels(torch.rand(5, 2, 2)).std(-1), np.zeros((2, 2)))


def test_overlay_is_orange_where_brighter_and_blue_where_darker():
    change = torch.tensor([[[0.4, -0.4], [0.0, 0.1]]])
    drawn = overlay(GREY, change, 0.4) / 255
    assert drawn[0, 0] == pytest.approx(MORE, abs=0.01)
    assert drawn[0, 1] == pytest.approx(LESS, abs=0.01)
    unchanged = 1 - 0.65 * 0.5
    assert drawn[1, 0] == pytest.approx([unchanged] * 3, abs=0.01)
    quarter = 0.75 * unchanged + 0.25 * np.array(MORE)
    assert drawn[1, 1] == pytest.approx(quarter, abs=0.01)


def test_a_constant_map_and_no_change_are_drawn_without_complaint():
    zero = torch.zeros(1, 2, 2)
    assert heat(GREY, zero).std() == 0 and overlay(GREY, zero, 0.0).std() == 0
    assert not np.array_equal(outline(GREY, torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]))[0, 0], outline(GREY, zero)[0, 0])


def test_the_scale_is_common_and_robust():
    image = torch.zeros(2, 1, 10, 10)
    other = image.clone()
    other[0] = 0.2
    assert common_scale(explanation_of(image, other)) == pytest.approx(0.2)
    assert common_scale(explanation_of(image, image)) == 1.0
    assert common_scale(explanation_of(image, None)) == 1.0


def test_png_keeps_the_pixels():
    picture = pixels(torch.rand(3, 4, 5))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)


def test_panels_and_sheet_show_what_there_is():
    data, classifier = corner_data(), corner_classifier()
    full = Truth(classifier, data).explain(data[:3].image)
    assert [name for name, _ in panels(full, 0, 1.0)] == [
        "image",
        "stable",
        "counterfactual",
        "what changed",
        "attribution",
    ]
    only = MapOnly(classifier).explain(data[:1].image)
    assert [name for name, _ in panels(only, 0, 1.0)] == ["image", "attribution"]
    figure = sheet(full)
    assert len(figure.axes) == 3 * 6
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert sum("Valid" in text for text in texts) == 3
    assert len(sheet(only).axes) == 3


def test_a_failure_is_said_on_the_sheet():
    data, classifier = corner_data(), corner_classifier()
    figure = sheet(Negative(classifier).explain(data[:2].image))
    assert any("Not valid" in text.get_text() for axis in figure.axes for text in axis.texts)


def test_no_answers_are_refused():
    image = torch.zeros(0, 1, 2, 2)
    with pytest.raises(ValueError, match="explanation: expected at least one answer to draw"):
        sheet(explanation_of(image, image))


def test_the_scale_is_common_to_several_explanations():
    image = torch.zeros(1, 1, 10, 10)
    weak, strong = explanation_of(image, image + 0.1), explanation_of(image, image + 0.4)
    assert common_scale(weak, strong) == pytest.approx(0.4) and common_scale() == 1.0


def texts_of(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_overlays_put_explainers_below_each_other_on_one_scale():
    data, classifier = corner_data(), corner_classifier()
    image = data[:2].image
    parts = [
        Truth(classifier, data).explain(image),
        Negative(classifier).explain(image),
        MapOnly(classifier).explain(image),
    ]
    figure = overlays(parts, row=1)
    assert len(figure.axes) == 3 * 5
    assert [text.split("\n")[0] for text in texts_of(figure)] == ["truth", "negative", "map only"]
    scale = common_scale(*parts)
    wanted = overlay(parts[0].stable[1], parts[0].difference[1], scale)
    assert np.array_equal(figure.axes[2].images[0].get_array(), wanted)
    assert f"full colour at {scale:.2f}" in figure.get_suptitle()
    with pytest.raises(ValueError, match="expected at least one answer to draw"):
        overlays([])


def test_knob_strip_shows_every_frame_with_its_posterior():
    frames, posterior = torch.rand(4, 1, 5, 5), torch.tensor([0.1, 0.4, 0.6, 0.95])
    figure = knob_strip(frames, posterior, of="lesion")
    assert [axis.get_title() for axis in figure.axes] == ["0.10", "0.40", "0.60", "0.95"]
    assert "'lesion'" in figure.get_suptitle()
    assert np.array_equal(figure.axes[2].images[0].get_array(), pixels(frames[2]))
    asked = knob_strip(frames, posterior, of="lesion", asked=torch.linspace(0, 1, 4))
    assert asked.axes[1].get_title() == "asked 0.33\n0.40"
    with pytest.raises(ValueError, match=r"posterior: expected one a frame, \(4,\), got \(2,\)"):
        knob_strip(frames, posterior[:2], of="lesion")


def test_curves_are_drawn_as_given():
    figure = curves({"COUT": ([0.0, 0.5, 1.0], [0.1, 0.7, 0.9]), "knob": ([0.0, 1.0], [0.0, 1.0])})
    assert [axis.get_title() for axis in figure.axes] == ["COUT", "knob"]
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0.0, 0.1], [0.5, 0.7], [1.0, 0.9]]
    assert len(curves({str(k): ([0.0, 1.0], [0.0, 1.0]) for k in range(4)}).axes) == 6
    with pytest.raises(ValueError, match="expected at least one answer to draw"):
        curves({})


def test_a_notebook_shows_figures_as_png():
    data, classifier = corner_data(), corner_classifier()
    shown = Negative(classifier).explain(data[:2].image).show(most=1)
    picture = Image.open(io.BytesIO(shown._repr_png_()))
    assert picture.format == "PNG" and picture.width > 400
    assert len(shown.axes) == 5
