"""xGEM: descent in a latent space whose every image is known."""

import pytest
import torch

from obverse.explanation import as_saved
from obverse.methods.xgem import XGEM
from obverse.models.dcgan import DCGAN
from tiny_core import bright_data
from tiny_models import bright_classifier, linear_model


@pytest.fixture
def own():
    """Images of the known generator, which it represents without error."""
    model = linear_model()
    return model, model.decode(2 * model.sample(8, seed=1)).detach()


def test_the_answer_is_decided_as_asked_and_stays_close(own):
    model, image = own
    explanation = XGEM(bright_classifier(), model).explain(image)
    assert explanation.valid.all() and explanation.asked.all()
    assert (explanation.residual < 1e-3).all() and (explanation.posterior_gap < 1e-2).all()
    torch.testing.assert_close(explanation.stable, as_saved(model.decode(model.encode(image))))
    wanted = explanation.posterior_after.gather(1, explanation.target[:, None])
    assert (wanted >= 0.9 - 1e-4).all() and (wanted < 0.99).all()  # it stops there
    assert explanation.difference.abs().mean() < 0.25


def test_confidence_and_weight_do_what_they_say(own):
    model, image = own
    classifier = bright_classifier()
    sure = XGEM(classifier, model, confidence=0.93).explain(image)
    assert (sure.posterior_after.gather(1, sure.target[:, None]) >= 0.93 - 1e-4).all()
    timid = XGEM(classifier, model, class_weight=1e-6, steps=20).explain(image)
    assert not timid.valid.any() and timid.difference.abs().max() < 0.1
    with pytest.raises(ValueError, match="confidence: expected a number between 0 and 1 for xgem, got 1; leave it out"):
        XGEM(classifier, model, confidence=1)


def test_the_objective_against_plain_steps(own):
    """One image, by hand: Adam on mean absolute error + 0.5 cross entropy, until the posterior is reached."""
    model, image = own
    classifier = bright_classifier()
    explainer = XGEM(classifier, model, class_weight=0.5, learning_rate=0.05)
    answer = explainer.explain(image[:1])
    latent = model.encode(image[:1]).clone().requires_grad_(True)
    adam = torch.optim.Adam([latent], 0.05)
    for _ in range(300):
        made = model.decode(latent)
        if float(classifier.posterior(as_saved(made.detach()))[0, answer.target[0]]) >= 0.9:
            break
        loss = (made - image[:1]).abs().mean() + 0.5 * -classifier.logits(made).log_softmax(1)[0, answer.target[0]]
        adam.zero_grad()
        loss.backward()
        adam.step()
    torch.testing.assert_close(answer.counterfactual, as_saved(model.decode(latent.detach())), rtol=0, atol=1.01 / 255)


def test_what_is_decided_already_stays():
    model, image, classifier = linear_model(seed=1), bright_data(8)[slice(None)].image, bright_classifier()
    explainer = XGEM(classifier, model, steps=5)
    explanation, frames = explainer.explain(image, "bright"), explainer.path(image, "bright", frames=3)
    assert explanation.asked.tolist() == [True] * 4 + [False] * 4
    stay = ~explanation.asked
    for shown in (explanation.counterfactual, explanation.stable, *frames.unbind(1)):
        torch.testing.assert_close(shown[stay], image[stay])
        assert (shown[explanation.asked] - image[explanation.asked]).abs().flatten(1).amax(1).min() > 0.1
    assert not explanation.attribution[stay].any()
    error = (model.decode(model.encode(image)) - image).abs().mean((1, 2, 3))
    torch.testing.assert_close(explanation.residual, error)  # of the model's own picture, which is not shown
    assert explanation.residual.min() > 0.1


def test_the_path_decodes_the_way_between_the_latents(own):
    model, image = own
    explainer = XGEM(bright_classifier(), model)
    path, answer = explainer.path(image[:2], frames=3), explainer.explain(image[:2])
    torch.testing.assert_close(path[:, 0], model.decode(model.encode(image[:2])), rtol=0, atol=1e-5)
    torch.testing.assert_close(path[:, 2], answer.counterfactual, rtol=0, atol=1 / 255)
    middle = (model.encode(path[:, 0]) + model.encode(path[:, 2])) / 2
    torch.testing.assert_close(path[:, 1], model.decode(middle), rtol=0, atol=1e-2)
    assert explainer.path_kind == "a straight line in the latent space"


def test_without_an_encoder_the_latent_is_searched_for():
    model = linear_model(encoder=False)
    image = model.decode(0.5 * model.sample(3, seed=5))
    explanation = XGEM(bright_classifier(), model, invert_steps=200).explain(image)
    assert (explanation.residual < 0.02).all() and explanation.valid.all()


def test_images_that_are_not_represented_are_told():
    explanation = XGEM(bright_classifier(), linear_model(seed=1), steps=3).explain(bright_data(16)[slice(None)].image)
    assert (explanation.residual > 0.1).all()
    assert explanation.posterior_gap.max() > 0.2
    row = int(explanation.posterior_gap.argmax())
    assert "is judged otherwise" in explanation.words(row)


def test_it_walks_in_a_trained_model_too():
    explanation = XGEM(bright_classifier(), DCGAN((1, 16, 16), latent_size=6, width=4), steps=3).explain(
        bright_data(4)[slice(None)].image
    )
    assert explanation.counterfactual.shape == (4, 1, 16, 16) and explanation.method == "xgem"
