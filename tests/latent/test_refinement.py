"""A few steps to a valid answer, or an honest failure."""

import pytest
import torch

from obverse.explanation import as_saved
from obverse.latent.refinement import refine
from tiny_core import bright_classifier
from tiny_latent import Plane

MODEL, CLASSIFIER = Plane(), bright_classifier()
LATENT = torch.tensor([[-1.0, 1, 0, 1, 0, 0], [2.5, 0, 0, 1, 0, 0], [-0.2, 0, 1, 0, 1, 1]])
TARGET = torch.tensor([1, 1, 1])


def search(rows=slice(None), **settings):
    given = {"posterior": 0.9, "steps": 100, **settings}
    latent = LATENT[rows]
    with torch.no_grad():  # as an explainer calls it
        return refine(MODEL, CLASSIFIER, latent, MODEL.decode(latent), TARGET[rows], **given)


def posterior(latent):
    return CLASSIFIER.posterior(as_saved(MODEL.decode(latent)))[:, 1]


@pytest.mark.parametrize("wanted", [0.6, 0.9])
def test_it_stops_as_soon_as_the_posterior_is_there(wanted):
    assert posterior(LATENT).tolist() == pytest.approx([0.05, 0.99, 0.3], abs=0.1)
    found = search(posterior=wanted)
    assert found.stopped.all()
    after = posterior(found.value)
    assert (after >= wanted).all() and (after[[0, 2]] < wanted + 0.08).all()
    assert torch.equal(found.value[1], LATENT[1]) and found.steps[1] == 0  # good enough from the start
    torch.testing.assert_close(found.value.norm(dim=1), LATENT.norm(dim=1))
    assert found.steps[0] > found.steps[2] > 0


def test_what_cannot_be_reached_comes_back_as_the_best_seen():
    found = search(steps=3)
    assert found.stopped.tolist() == [False, True, False]
    assert (posterior(found.value)[[0, 2]] > posterior(LATENT)[[0, 2]]).all()
    assert (posterior(found.value)[[0, 2]] < 0.9).all()


def test_proximity_holds_back():
    far = search(slice(0, 1), steps=30, posterior=0.999, proximity=0.0)
    near = search(slice(0, 1), steps=30, posterior=0.999, proximity=20.0)
    image = MODEL.decode(LATENT[:1])
    assert not near.stopped.any()  # out of reach
    assert (MODEL.decode(near.value) - image).abs().mean() < (MODEL.decode(far.value) - image).abs().mean()


def test_rows_do_not_depend_on_each_other_and_none_is_fine():
    whole, alone = search(), search(slice(2, 3))
    torch.testing.assert_close(whole.value[2:], alone.value, rtol=1e-4, atol=1e-5)
    assert search(slice(0, 0)).value.shape == (0, 6)


def test_a_posterior_that_is_none():
    with pytest.raises(ValueError, match="posterior: expected a probability between 0 and 1, got 1; pass"):
        search(posterior=1.0)
