"""Walks: cross-faded, by the method's own frames, or by its knob; strips and animations hold their frames."""

import io
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.explainer import Answer, Explainer
from obverse.explanation import NotApplicable, as_saved
from obverse.figures import overlay, pixels
from obverse.report.walk import FRAME_MILLISECONDS, REST_FRAMES, animation, change_strip, strip, walk
from tiny import MapOnly, Negative, Truth, corner_classifier, corner_data


@dataclass(eq=False, kw_only=True)
class Knob(Explainer):
    """Makes the corner as bright as is asked."""

    name = "knob"
    needs_gradient = False
    has_knob = True

    def answer(self, query):
        level = (query.target == 1).float() if query.posterior is None else self.level(query)
        made = query.image.clone()
        made[:, :, :4, :4] = level.view(-1, 1, 1, 1)
        return Answer(counterfactual=made)

    def level(self, query):
        return torch.where(query.target == 1, query.posterior, 1 - query.posterior)


@dataclass(eq=False, kw_only=True)
class Detour(Explainer):
    """Goes by black."""

    name = "detour"
    needs_gradient = False
    path_kind = "by black"

    def answer(self, query):
        return Answer(counterfactual=1 - query.image)

    def frames(self, query, count):
        made = torch.zeros(len(query.image), count, *query.image.shape[1:])
        made[:, 0], made[:, -1] = query.image, 1 - query.image
        return made


def test_cross_faded_frames_are_saved_shares_of_both_ends():
    classifier, image = corner_classifier(), corner_data()[:3].image
    explainer = Negative(classifier)
    answer = explainer.explain(image)
    found = walk(explainer, answer, frames=5)
    assert found.faded and "cross-faded" in found.kind and found.asked is None
    for place in range(5):
        share = place / 4
        wanted = as_saved(image * (1 - share) + answer.counterfactual * share)
        assert (found.frames[:, place] - wanted).abs().max() <= 1 / 255 + 1e-6
        assert torch.allclose(found.posterior[:, place], classifier.posterior(found.frames[:, place]), atol=1e-5)
    assert torch.equal(found.frames[:, 0], image) and torch.equal(found.frames[:, -1], answer.counterfactual)
    assert found.labels() == ["start", "25% of the way", "50% of the way", "75% of the way", "counterfactual"]


def test_a_walk_starts_at_the_stable_image():
    data, classifier = corner_data(), corner_classifier()
    explainer = Truth(classifier, data)
    answer = explainer.explain(data[:2].image)
    assert torch.equal(walk(explainer, answer, frames=3).frames[:, 0], answer.stable)


def test_the_methods_own_frames_are_taken():
    explainer = Detour(corner_classifier())
    found = walk(explainer, explainer.explain(corner_data()[:2].image), frames=4)
    assert not found.faded and found.kind == "by black"
    assert float(found.frames[:, 1:-1].max()) == 0


def test_a_knob_is_asked_for_every_posterior_of_each_rows_target():
    explainer, image = Knob(corner_classifier()), corner_data()[:4].image
    answer = explainer.explain(image)
    assert answer.target.tolist() == [1, 0, 1, 0]
    found = walk(explainer, answer, frames=5)
    assert found.asked.tolist() == [0, 0.25, 0.5, 0.75, 1] and not found.faded
    corner = found.frames[:, :, 0, 0, 0]
    rising = as_saved(torch.tensor([0, 0.25, 0.5, 0.75, 1]))
    assert torch.allclose(corner[0], rising) and torch.allclose(corner[1], as_saved(1 - rising), atol=1 / 255 + 1e-6)
    assert found.labels() == ["asked 0%", "asked 25%", "asked 50%", "asked 75%", "counterfactual"]


def test_the_last_picture_of_a_knob_is_the_answer_that_is_judged():
    class Further(Knob):
        def level(self, query):  # asked for a posterior, it goes further than to the end
            return 0.5 * super().level(query)

    explainer = Further(corner_classifier())
    answer = explainer.explain(corner_data()[:4].image)
    found = walk(explainer, answer, frames=5)
    assert torch.equal(found.frames[:, -1], answer.counterfactual)
    torch.testing.assert_close(found.posterior[:, -1], answer.posterior_after)


def test_maps_have_no_walk():
    explainer = MapOnly(corner_classifier())
    with pytest.raises(NotApplicable, match="walk: map only makes no counterfactual to walk to"):
        walk(explainer, explainer.explain(corner_data()[:1].image))


def test_strips_hold_the_frames_one_below_the_other():
    frames = as_saved(torch.rand(3, 1, 4, 5))
    tall = strip(frames)
    assert tall.shape == (12, 5, 3)
    for place in range(3):
        assert np.array_equal(tall[4 * place : 4 * place + 4], pixels(frames[place]))
    changes = change_strip(frames[0], frames, 0.5)
    assert np.array_equal(changes[8:], overlay(frames[0], frames[2] - frames[0], 0.5))


@pytest.mark.parametrize("channels", [1, 3])
def test_animations_walk_there_and_back(channels):
    levels = torch.linspace(0, 1, 4).view(4, 1, 1, 1).expand(-1, channels, 12, 16)
    moving = Image.open(io.BytesIO(animation(levels)))
    assert moving.format == "GIF" and moving.n_frames == 6 and moving.info["loop"] == 0
    assert moving.size == (16 * 22, 12 * 22)  # the shorter side is at least 256
    seen, rests = [], []
    for place in range(6):
        moving.seek(place)
        seen.append(np.asarray(moving.convert("L"))[100, 100])
        rests.append(moving.info["duration"])
    assert np.abs(np.array(seen, float) - np.array([0, 85, 170, 255, 170, 85])).max() <= 2
    assert rests == [FRAME_MILLISECONDS * (REST_FRAMES if place in (0, 3) else 1) for place in range(6)]
