"""Cards: what is shown of an answer, how it is named, and what the slider is given."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.figures import pixels
from obverse.report.cards import card, columns, data_uri
from obverse.report.walk import strip, walk
from tiny import MapOnly, Negative, Truth, corner_classifier, corner_data, explanation_of


def picture_in(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_pictures_bars_and_words():
    data, classifier = corner_data(), corner_classifier()
    sample = data[:2]
    answer = Truth(classifier, data).explain(sample.image)
    found = card(answer, 1, name="scan", scale=0.5, sample=sample)
    assert [one.name for one in found.pictures] == ["image", "stable", "counterfactual", "what changed", "attribution",
                                                    "mask", "true twin"]  # fmt: skip
    assert [one.name for one in found.first] == ["image", "counterfactual", "what changed"]
    assert all("scan" in one.alt for one in found.pictures)
    assert np.array_equal(picture_in(found.pictures[0].uri), pixels(sample.image[1]))
    assert (found.source, found.target, found.mark, found.failed) == ("lesion", "healthy", "valid", False)
    assert found.words == answer.words(1) and found.walk is None and found.column == "after"
    assert [name for name, _, _ in found.bars] == ["lesion", "healthy"]
    assert found.bars[0][1] == pytest.approx(100 * float(answer.posterior_before[1, 1]))


def test_kinds_of_answers():
    data, classifier = corner_data(), corner_classifier()
    image = torch.zeros(1, 1, 12, 12)
    same = explanation_of(image, image, target=torch.zeros(1, dtype=torch.int64))
    assert card(same, 0, name="", scale=1).mark == "nothing was asked" and not card(same, 0, name="", scale=1).failed
    only = card(MapOnly(classifier).explain(data[:1].image), 0, name="", scale=1)
    assert (
        only.mark == "attribution only"
        and only.column == ""
        and [one.name for one in only.first] == ["image", "attribution"]
    )
    lost = explanation_of(image, image, after=torch.tensor([[1.0, 0.0]]))
    assert card(lost, 0, name="", scale=1).mark == "NOT VALID" and card(lost, 0, name="", scale=1).kinds == "failed"
    assert [card(one, 0, name="", scale=1).verdict for one in (same, lost)] == ["", "bad"] and only.verdict == ""
    assert card(explanation_of(image, image), 0, name="", scale=1).verdict == "good"
    wrong = card(lost, 0, name="", scale=1, sample=data[1:2])
    assert wrong.wrong.startswith("labelled b: the classifier is wrong") and wrong.kinds == "failed wrong"


def test_pictures_are_of_one_size_in_all_cards():
    data, classifier = corner_data(), corner_classifier()
    few = card(MapOnly(classifier).explain(data[:1].image), 0, name="", scale=1)
    four = card(Negative(classifier).explain(data[:1].image), 0, name="", scale=1)
    many = card(Truth(classifier, data).explain(data[:1].image), 0, name="", scale=1)
    assert [columns(cards) for cards in ([], [few], [few, four], [four, many])] == [3, 3, 4, 3]
    assert [bool(one.tip) for one in many.pictures] == [False, True, False, False, True]


def test_with_many_classes_the_most_probable_are_shown():
    image = torch.zeros(1, 1, 12, 12)
    before = torch.tensor([[0.5, 0.0, 0.3, 0.05, 0.15, 0.0]])
    answer = explanation_of(image, image, classes=tuple("abcdef"), before=before, after=before.flip(1))
    assert [name for name, _, _ in card(answer, 0, name="", scale=1).bars] == ["a", "b", "f", "c"]


def test_the_slider_is_given_every_frame_or_both_ends():
    data, classifier = corner_data(), corner_classifier()
    explainer = Negative(classifier)
    answer = explainer.explain(data[:1].image)
    way = walk(explainer, answer, frames=5)
    exact = card(answer, 0, name="x", scale=1, walk=way)
    moving = next(one for one in exact.pictures if one.name == "counterfactual")
    assert moving.way == "strip" and moving.moving and (moving.width, moving.height) == (12, 12)
    assert np.array_equal(picture_in(moving.uri), strip(way.frames[0]))
    assert next(one for one in exact.pictures if one.name == "what changed").way == "strip"
    small = next(one for one in card(answer, 0, name="x", scale=1, walk=way, exact=False).pictures if one.moving)
    assert small.way == "fade" and np.array_equal(picture_in(small.under), pixels(answer.image[0]))
    given = json.loads(exact.walk["data"])
    assert exact.walk["last"] == 4 and len(given["labels"]) == len(given["decided"]) == 5
    assert np.allclose(given["posterior"], way.posterior[0][:, [0, 1]].numpy(), atol=1e-4)
    assert exact.column == "at the slider"


def test_data_uris_keep_pixels_unless_told():
    colour, grey = pixels(torch.rand(3, 6, 7)), pixels(torch.rand(1, 6, 7))
    assert np.array_equal(picture_in(data_uri(colour)), colour)
    assert np.array_equal(picture_in(data_uri(grey)), grey)
    assert Image.open(io.BytesIO(base64.b64decode(data_uri(grey).partition(",")[2]))).mode == "L"
    assert data_uri(colour, lossless=False).startswith("data:image/webp;base64,")
    tall = np.zeros((16384, 1, 3), np.uint8)
    assert data_uri(tall[1:], lossless=False).startswith("data:image/webp") and np.array_equal(
        picture_in(data_uri(tall, lossless=False)), tall
    )
