from dataclasses import dataclass

import pytest
import torch
from torch import nn

from obverse.data.base import Sample
from obverse.evaluation import evaluate
from obverse.explainer import Answer, Explainer, Query
from obverse.explanation import NotApplicable
from obverse.metrics.identity import FirstNeighbour, LatentCloseness, Verification
from tiny import Negative, Nothing, corner_classifier, corner_data, explanation_of


@dataclass(eq=False, kw_only=True)
class Two(Explainer):
    """Two answers an image, a little brighter each than the image."""

    name = "two"
    needs_gradient = False
    many_answers = True

    def answer(self, query: Query) -> Answer:
        return Answer(counterfactual=(query.image + 0.004 * (1 + query.answer.view(-1, 1, 1, 1))).clamp(0, 1))


def points(n=12, d=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, d, generator=generator)
    return image, image + 0.8 * torch.randn(n, d, generator=generator)


def rows(image, other, own=None):
    """Features as the metrics keep them: of images, of counterfactuals, and which image it is."""
    own = torch.arange(len(image)) if own is None else own
    return torch.cat([image, other, own[:, None].expand(-1, 2).float()], 1)


@pytest.mark.parametrize("seed", range(3))
def test_both_equal_the_loop_over_the_equation(seed):
    image, other = points(seed=seed)
    target, none = torch.arange(12) % 2, torch.zeros(12, dtype=torch.int64)
    close, first = 0, 0
    for i in range(12):
        own = float((image[i] - other[i]).norm())
        fakes = {j: float((other[i] - other[j]).norm()) for j in range(12) if j != i}
        reals = [float((other[i] - image[j]).norm()) for j in range(12) if j != i]
        close += own < min(away for j, away in fakes.items() if target[j] == target[i])
        first += own < min([*fakes.values(), *reals])
    assert LatentCloseness().compute(rows(image, other), none, target) == pytest.approx(close / 12)
    assert FirstNeighbour().compute(rows(image, other), none, target) == pytest.approx(first / 12)
    assert 0 < first <= close < 12


def test_several_answers_to_one_image_are_not_each_others_rivals():
    image, other = points(6)
    target = torch.zeros(6, dtype=torch.int64)
    twice = [part.repeat_interleave(2, 0) for part in (image, other, torch.arange(6))]
    for metric in (LatentCloseness(), FirstNeighbour()):
        alone = metric.compute(rows(image, other), target, target)
        assert metric.compute(rows(*twice), target.repeat(2), target.repeat(2)) == alone
    answers = evaluate(Two(corner_classifier()), corner_data(), answers=2, metrics=[FirstNeighbour("classifier features")])
    assert answers.rows[0].n == 48 and answers.rows[0].value == 1.0


def test_the_same_image_is_closest_and_a_collapsed_space_tells_nothing():
    image, _ = points()
    none = torch.zeros(12, dtype=torch.int64)
    for metric in (LatentCloseness(), FirstNeighbour()):
        assert metric.compute(rows(image, image), none, none) == 1.0
        assert metric.compute(rows(0 * image, 0 * image), none, none) == 0.0
        with pytest.raises(NotApplicable, match="answers: closeness needs at least 2 answers, got 1"):
            metric.compute(torch.zeros(1, 6), none[:1], none[:1])
    with pytest.raises(NotApplicable, match="answers: closeness needs two images that are asked for the same class"):
        LatentCloseness().compute(rows(image[:2], image[:2]), none[:2], torch.tensor([0, 1]))


def test_in_the_report():
    chosen = ["latent_closeness", LatentCloseness("classifier features"), FirstNeighbour("classifier features")]
    report = evaluate(Nothing(corner_classifier()), corner_data(), metrics=chosen)
    assert report.row("latent closeness, classifier features").value == 1.0
    assert report.row("first neighbour is the own image, classifier features").n == 24
    assert report.skipped["latent closeness, embedding"].startswith("judges: pass judges=")


def test_verification_by_cosine():
    image = torch.zeros(3, 1, 1, 2)
    image[:, 0, 0, 0] = 1
    other = torch.tensor([[1.0, 0.5], [0.5, 1.0], [0.0, 0.0]]).view(3, 1, 1, 2)
    # cosines: 1 / sqrt(1.25) = .894, .447, and 0 for a vector of zeros
    found = Verification(nn.Flatten())(explanation_of(image, other), Sample(image=image), corner_classifier())
    assert found.tolist() == [1.0, 0.0, 0.0]
    report = evaluate(Negative(corner_classifier()), corner_data(), metrics=["verification"], recogniser=nn.Flatten())
    assert report.row("verification").n == 24
    with pytest.raises(NotApplicable, match="recogniser: pass recogniser="):
        Verification()(explanation_of(image, other), Sample(image=image), corner_classifier())


def test_the_recogniser_is_a_copy_that_nothing_changes():
    recogniser = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(corner_data()[:].image[0].numel())).train()
    report = evaluate(Negative(corner_classifier()), corner_data(), metrics=["verification"], recogniser=recogniser)
    assert report.row("verification").n == 24
    assert recogniser.training and not recogniser[1].running_mean.any() and recogniser[1].weight.requires_grad
