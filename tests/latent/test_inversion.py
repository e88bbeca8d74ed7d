"""Inversion: known latents are found again, every term and number against a slow re-statement."""

import pytest
import torch
from torch import nn

from obverse.classifier import Classifier
from obverse.explanation import NotApplicable
from obverse.latent.inversion import _View, invert, posterior_gap
from obverse.models.adapters import BigGAN
from tiny_core import SHAPE, bright_data, bright_module
from tiny_latent import Plane
from tiny_models import Port, bright_classifier, linear_model


@pytest.fixture
def model():
    return linear_model(encoder=False)


def test_known_latents_are_found_again(model):
    latent = 0.5 * model.sample(2, seed=5)
    image = model.decode(latent)
    found = invert(model, image, steps=80, rate=0.1, enough=5e-3)
    assert found.stopped.all() and (found.residual <= 5e-3).all() and (found.steps < 80).all()
    torch.testing.assert_close(found.latent, latent, rtol=0, atol=0.2)
    torch.testing.assert_close(found.image, model.decode(found.latent))
    torch.testing.assert_close(found.residual, (found.image - image).abs().flatten(1).mean(1))
    assert found.posterior_gap is None


def test_images_that_no_latent_makes_leave_a_residual(model):
    found = invert(model, bright_data(4)[slice(None)].image, steps=30)
    assert not found.stopped.any() and (found.residual > 0.1).all() and (found.steps == 30).all()


def test_an_encoder_gives_the_start_and_is_bettered():
    model = linear_model()
    image = (model.decode(model.sample(3)) + 0.05 * torch.rand(3, *SHAPE)).clamp(0, 1)
    first = (model.decode(model.encode(image)) - image).abs().flatten(1).mean(1)
    found = invert(model, image, steps=60, rate=0.02)
    assert (found.residual <= first + 1e-6).all() and found.residual.sum() < first.sum()
    exact = invert(model, model.decode(model.sample(2)), steps=5)
    assert exact.stopped.all() and (exact.steps == 0).all()
    blind = invert(model, image, steps=1, start="prior")
    assert blind.residual.sum() > found.residual.sum()


def test_restarts_are_never_worse_and_start_from_different_noise(model):
    image = bright_data(4)[slice(None)].image
    one, three = invert(model, image, steps=15, seed=1), invert(model, image, steps=15, restarts=3, seed=1)
    assert (three.residual <= one.residual + 1e-6).all() and three.latent.shape == (4, 8)
    assert (three.residual < one.residual).any()


def test_an_answer_does_not_depend_on_its_batch_mates(model):
    image = bright_data(6)[slice(None)].image
    whole, part = invert(model, image, steps=10, restarts=2), invert(model, image[2:4], steps=10, restarts=2)
    torch.testing.assert_close(whole.latent[2:4], part.latent, rtol=1e-4, atol=1e-5)


def test_the_classifiers_terms_against_a_slow_sum(images):
    classifier, made = bright_classifier(), 0.5 * images.roll(1, 0) + 0.2
    view, query = _View(classifier, images, 0.3, 0.7), torch.tensor([4, 0, 2])
    losses, gaps = view(made[:3], query)
    for row, index in enumerate(query.tolist()):
        seen, wanted = classifier.features(images[[index]])[0], classifier.posterior(images[[index]])[0]
        features = (classifier.features(made[[row]])[0] - seen).abs().sum() / seen.abs().sum()
        got = classifier.posterior(made[[row]])[0]
        divergence = sum(p * (p / q).log() for p, q in zip(wanted, got))
        torch.testing.assert_close(losses[row], 0.3 * features + 0.7 * divergence, rtol=1e-4, atol=1e-5)
        assert gaps[row].item() == pytest.approx(abs(float(wanted.max() - got[int(wanted.argmax())])), abs=1e-5)
    torch.testing.assert_close(_View(classifier, images, 0.3, 0.0)(made[:3], query)[1], gaps)
    assert all(torch.equal(part, torch.zeros(3)) for part in _View(None, images, 0.3, 0.7)(made[:3], query))


def test_a_classifier_without_a_linear_layer_compares_posteriors_alone(model, images):
    class Halves(nn.Module):
        def forward(self, image):
            return 12 * torch.stack([image[..., 8:].mean((1, 2, 3)), image[..., :8].mean((1, 2, 3))], 1)

    classifier = Classifier(Halves(), ["right", "left"], SHAPE, device="cpu")
    view, query = _View(classifier, images, 0.3, 0.7), torch.arange(8)
    made = images.roll(1, 0)
    torch.testing.assert_close(view(made, query), _View(classifier, images, 0.0, 0.7)(made, query))
    assert view(made, query)[0].min() > 0
    found = invert(model, images[:2], classifier=classifier, steps=3)
    torch.testing.assert_close(found.latent, invert(model, images[:2], classifier=classifier, steps=3, features=0.0).latent)


def test_the_gap_by_hand(images):
    classifier = bright_classifier()
    gap = posterior_gap(classifier, images, images.flip(0))
    before, after = classifier.posterior(images), classifier.posterior(images.flip(0))
    expected = [abs(float(b[int(b.argmax())] - a[int(b.argmax())])) for b, a in zip(before, after)]
    torch.testing.assert_close(gap, torch.tensor(expected))
    assert posterior_gap(classifier, images, images).max() == 0


def test_a_gap_keeps_an_image_from_being_done(model):
    classifier = Classifier.black_box(lambda image: bright_module()(image), ["dark", "bright"], SHAPE)
    image = model.decode(0.5 * model.sample(2, seed=5))
    strict = invert(model, image, classifier=classifier, steps=40, rate=0.1, enough=0.2, most_gap=0.01)
    loose = invert(model, image, classifier=classifier, steps=40, rate=0.1, enough=0.2, most_gap=1.0)
    assert loose.stopped.all() and (loose.steps <= strict.steps).all() and (loose.steps < strict.steps).any()
    assert strict.stopped.all() and (strict.posterior_gap <= 0.01).all() and (loose.posterior_gap > 0.01).any()


def test_posteriors_are_kept_with_a_classifier(model):
    classifier, image = bright_classifier(), bright_data(8)[slice(None)].image
    with_it = invert(model, image, classifier=classifier, steps=40, rate=0.1, features=0.0, decision=0.1)
    without = invert(model, image, classifier=classifier, steps=40, rate=0.1, features=0.0, decision=0.0)
    assert with_it.posterior_gap.mean() < 0.8 * without.posterior_gap.mean()


def test_conditional_models_start_from_a_class():
    model = BigGAN(Port().eval())
    image = model.decode(model.sample(2, target=3)).detach()
    with pytest.raises(ValueError, match=r"target: biggan-deep needs a class for each image to start from, got None"):
        invert(model, image, steps=2)
    found = invert(model, image, target=torch.tensor([3, 1]), steps=1, rate=1e-6, enough=0.0)
    torch.testing.assert_close(found.latent[:, 6:], model.module.embeddings.weight.T[[3, 1]], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"restarts": 0}, ValueError, r"restarts: expected at least 1, got 0; leave it out for the default"),
    ({"steps": 0}, ValueError, r"steps: expected at least 1, got 0"),
    ({"rate": 0.0}, ValueError, r"rate: expected at least 1e-12, got 0"),
    ({"features": -1.0}, ValueError, r"features: expected at least 0, got -1"),
    ({"most_gap": -1.0}, ValueError, r"most_gap: expected at least 0, got -1"),
    ({"start": "normal"}, ValueError, r"start: expected one of auto, encoder, prior, got 'normal'; leave it out for auto"),
    ({"start": "encoder"}, NotApplicable, r"start: adapter has no encoder; pass start='prior'"),
    ({"target": torch.zeros(99, dtype=torch.int64)}, ValueError, r"target: expected \(\d+,\) indices, one an image, got \(99,\)"),
])  # fmt: skip
def test_impossible_wishes_are_refused(model, images, changes, error, message):
    with pytest.raises(error, match=message):
        invert(model, images, **changes)


def test_with_an_encoder_too_targets_are_one_an_image():
    model = linear_model()
    with pytest.raises(ValueError, match=r"target: expected \(2,\) indices, one an image, got \(7,\)"):
        invert(model, model.decode(model.sample(2)), target=torch.zeros(7, dtype=torch.int64), steps=1)


def test_a_conditional_model_whose_encoder_starts_the_search_is_asked_for_no_class(images):
    model = Plane(classes=("night", "day"))  # names that the classifier does not know
    invert(model, images[:2], classifier=bright_classifier(), steps=1)
    with pytest.raises(ValueError, match="cannot be asked for"):
        invert(model, images[:2], classifier=bright_classifier(), steps=1, start="prior")


def test_each_step_asks_model_and_classifier_once(model, images, monkeypatch):
    classifier, asked = bright_classifier(), []
    scores, decode = classifier._scores, model._decode
    monkeypatch.setattr(classifier, "_scores", lambda image: asked.append("classifier") or scores(image))
    monkeypatch.setattr(model, "_decode", lambda latent: asked.append("model") or decode(latent))
    before = classifier.posterior(images[:2])
    asked.clear()
    invert(model, images[:2], classifier=classifier, steps=7, features=0.0, before=before)
    assert asked.count("classifier") == 8 + 1 and asked.count("model") == 8 + 1  # and once for what was found


def test_other_images_are_refused(model):
    with pytest.raises(ValueError, match=r"image: expected shape \(N, 1, 16, 16\), got \(2, 1, 28, 28\)"):
        invert(model, torch.zeros(2, 1, 28, 28))


def test_it_searches_alike_within_inference_mode(model, images):
    outside = invert(model, images, steps=3)
    with torch.inference_mode():
        inside = invert(model, images + 0, steps=3)
    assert torch.equal(outside.latent, inside.latent)


def test_no_trace_is_left(model, images):
    classifier = bright_classifier()
    state, weights = torch.get_rng_state(), model.fingerprint
    invert(model, images, classifier=classifier, steps=3)
    assert torch.equal(state, torch.get_rng_state()) and model.fingerprint == weights
    assert all(p.grad is None for p in model.modules()[0].parameters())
