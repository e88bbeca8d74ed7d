"""Samples by class: every one decided as wanted, counted, and given up where there is no hope."""

import statistics

import pytest
import torch
from torch import nn

from obverse.classifier import Classifier
from obverse.latent.rejection import draw
from obverse.models.adapters import Adapter
from tiny_core import bright_classifier
from tiny_latent import LATENT, Plane, blocks_classifier


def noise(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    asked: list[int] = []

    def normal(count):
        asked.append(count)
        return torch.randn(count, model.normal_size, generator=generator)

    return normal, asked


def test_each_class_gets_its_rows_and_every_draw_is_counted():
    model, classifier = Plane(), bright_classifier()
    normal, asked = noise(model)
    drawn = draw(model, classifier, (1, 0), 50, normal, least=0.01)
    assert drawn.latent.shape == (100, LATENT)
    assert classifier.decide(drawn.image).tolist() == [1] * 50 + [0] * 50
    torch.testing.assert_close(drawn.image, model.decode(drawn.latent))
    assert len(drawn.latent.unique(dim=0)) == 100
    # the same noise, decided one by one
    generator, decided = torch.Generator().manual_seed(0), []
    for count in asked:
        latent = torch.randn(count, LATENT, generator=generator)
        decided.append([int(classifier.decide(model.decode(row[None]))) for row in latent])
    rounds = [0, 0]  # a class that has its rows takes no part in the next round
    for place, k in enumerate((1, 0)):
        have = 0
        for part in decided:
            if have < 50:
                have, rounds[place] = have + part.count(k), rounds[place] + 1
        assert drawn.accepted[place] == have
    assert drawn.drawn.tolist() == [sum(asked[:count]) for count in rounds]


def test_a_conditional_model_is_asked_for_the_class_by_name():
    model = Plane(classes=("other", "bright", "dark"))  # dark ends at 2 * 2 - 1 = 3: bright all the same
    classifier = bright_classifier()
    normal, _ = noise(model)
    found = draw(model, classifier, (1,), 8, normal, least=0.01)
    assert (found.latent[:, 0] == 1).all() and found.accepted.tolist() == [8] and found.drawn.tolist() == [8]
    with pytest.raises(ValueError, match=r"data: the classifier decides 'dark' for 0 of 32 samples of plane \(least accep"):
        draw(model, classifier, (0,), 8, normal, least=0.5)
    unknown = Plane(classes=("other",))
    with pytest.raises(ValueError, match="model: plane cannot be asked for 'dark', it knows other; name the classifier"):
        draw(unknown, classifier, (0,), 8, noise(unknown)[0], least=0.5)


def test_a_class_that_is_never_made_is_given_up_with_the_rate():
    model = Plane()
    with torch.no_grad():
        model.out.bias.fill_(6.0)  # all bright
    normal, asked = noise(model)
    said = r"'0' for 0 of 1000 samples of plane \(least acceptance 0.01\): too few .* pass images, .* least_acceptance"
    with pytest.raises(ValueError, match=said):
        draw(model, blocks_classifier("0", "1", "2"), (0, 2), 25, normal, least=0.01)
    assert sum(asked) == 1000


class Spread(nn.Module):
    """Grey images, as bright as the first number of the latent says."""

    def forward(self, latent):
        return (0.5 + latent[:, 0] / 40).clamp(0, 1)[:, None, None, None].expand(-1, 1, 4, 4)


class OneIn(nn.Module):
    """Decides 1 for a share of standard normal latents, and 0 for the others."""

    def __init__(self, share):
        super().__init__()
        self.limit = statistics.NormalDist().inv_cdf(1 - share)

    def forward(self, image):
        return (40 * (image.flatten(1)[:, 0] - 0.5 - self.limit / 40))[:, None] * torch.tensor([[0.0, 1.0]])


@pytest.mark.parametrize(("share", "hopeless"), [(0.005, True), (0.012, False), (0.02, False)])
def test_only_a_share_below_the_least_is_given_up_however_long_the_run(share, hopeless):
    model = Adapter(Spread(), image_shape=(1, 4, 4), latent_size=2, pixels=(0, 1))
    classifier = Classifier(OneIn(share), ["0", "1"], (1, 4, 4), device="cpu")
    normal, _ = noise(model, seed=3)
    before = ([0], [0])

    def run():
        nonlocal before
        for _ in range(60):  # steps of one training
            found = draw(model, classifier, (1,), 4, normal, least=0.01, before=before)
            before = ([before[0][0] + int(found.drawn)], [before[1][0] + int(found.accepted)])

    if hopeless:
        with pytest.raises(ValueError, match=r"decides '1' for .* \(least acceptance 0.01\)"):
            run()
    else:
        run()
        assert before[1][0] / before[0][0] == pytest.approx(share, rel=0.4)
