import dataclasses
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from obverse.data.base import MemoryDataset, Sample
from obverse.evaluation import evaluate
from obverse.explainer import Answer, Explainer, Query
from obverse.explanation import NotApplicable
from obverse.generative import GenerativeModel
from obverse.metrics.cost import asked_rows
from obverse.metrics.stability import LatentChange, MapArea, RepeatAgreement
from tiny import MapOnly, Negative, corner_classifier, corner_data, explanation_of


@dataclass(eq=False, kw_only=True)
class Dice(Explainer):
    """Answers with noise."""

    name = "dice"
    needs_gradient = False

    def answer(self, query: Query) -> Answer:
        return Answer(counterfactual=query.normal(*query.image.shape[1:]).sigmoid())


def test_answers_without_chance_agree_wholly_and_noise_not_at_all():
    classifier, data = corner_classifier(), corner_data()
    maps, images = RepeatAgreement()(Negative(classifier), data, classifier)
    assert maps.value == 1.0 and images.value == pytest.approx(1, abs=1e-5) and maps.n == 24
    maps, images = RepeatAgreement(images=8)(Dice(classifier), data, classifier)
    assert abs(images.value) < 0.3 and maps.value < 0.9 and images.n == 8
    (only,) = RepeatAgreement()(MapOnly(classifier), data, classifier)
    assert only.label == "repeated answers: correlation of maps" and only.value == 1.0


@dataclass(eq=False, kw_only=True)
class Searches(Negative):
    """Finds latents that differ by the seed in a known way."""

    name = "searches"

    def invert(self, image, *, seed=0):
        angle = torch.tensor(seed * torch.pi / 3)
        latent = torch.stack([angle.cos(), angle.sin()]).expand(len(image), 2)
        return SimpleNamespace(latent=latent, image=image)


def test_repeated_searches_agree_by_the_cosine_of_their_latents():
    classifier, data = corner_classifier(), corner_data()
    rows = {row.label: row.value for row in RepeatAgreement()(Searches(classifier), data, classifier)}
    # 60, 120 and 60 degrees apart
    assert rows["repeated searches: cosine of latents"] == pytest.approx((0.5 - 0.5 + 0.5) / 3, abs=1e-6)
    assert rows["repeated searches: SSIM of their images"] == pytest.approx(1, abs=1e-5)
    assert rows["repeated answers: correlation of maps"] == 1.0


def test_map_area_by_hand():
    maps = torch.tensor([[[[1.0, 0.5], [0.05, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    image = torch.zeros_like(maps)
    answer, sample = explanation_of(image, None, attribution=maps), Sample(image=image)
    assert MapArea()(answer, sample, corner_classifier()).tolist() == [0.5, 0.0]
    curve = MapArea().curve(answer, sample, corner_classifier())
    assert curve.shape == (2, 21)
    assert curve[0, [0, 1, 2, 10, 20]].tolist() == [0.75, 0.5, 0.5, 0.25, 0.0]
    assert curve[1].tolist() == [0.0] * 21


class Rows(GenerativeModel):
    """Encodes an image to the means of its rows."""

    name = "rows"
    image_shape, latent_size, has_encoder = (1, 12, 12), 12, True

    def modules(self):
        return []

    def _decode(self, latent):
        return latent.view(-1, 1, 12, 1).expand(-1, 1, 12, 12)

    def _encode(self, image):
        return image.mean((1, 3))


@dataclass(eq=False, kw_only=True)
class Brighten(Explainer):
    """Brightens the first row, on a model."""

    model: GenerativeModel = field(kw_only=False)
    name = "brighten"
    needs_gradient = False

    def answer(self, query: Query) -> Answer:
        image = query.image.clone()
        image[..., 0, :] = 1
        return Answer(counterfactual=image)


def test_latent_change_by_hand():
    image = torch.zeros(2, 1, 12, 12)
    other = image.clone()
    other[0, :, :3] = torch.tensor([0.6, 0.3, 0.3]).view(1, 3, 1)  # d = .6, .3, .3 and nine zeros
    answer, sample = explanation_of(image, other), Sample(image=image)
    size, share = (one.__class__(one.what, Rows()) for one in LatentChange.instances())
    assert size(answer, sample, corner_classifier()).tolist() == pytest.approx([1.2 / 12, 0])
    # (sum d)^2 / (D sum d^2) = 1.44 / (12 * .54)
    assert share(answer, sample, corner_classifier()).tolist() == pytest.approx([1.44 / (12 * 0.54), 0])
    assert size.curve(answer, sample, corner_classifier())[0].tolist() == pytest.approx([0.6, 0.3, 0.3, *[0] * 9])
    with pytest.raises(NotApplicable, match="encoder: the method works on no generative model with an encoder"):
        LatentChange()(answer, sample, corner_classifier())


def test_the_encoder_is_that_of_the_explainers_model():
    classifier, data = corner_classifier(), corner_data()
    report = evaluate(Brighten(classifier, Rows()), data, metrics=["latent_change"])
    assert report.row("latent change, share of dimensions").value == pytest.approx(1 / 12, rel=1e-4)
    curve = report.curves["latent change, mean of a dimension"][1]
    assert curve[0] > 0.3 and max(curve[1:]) < 1e-6 and len(curve) == 12
    without = evaluate(Negative(classifier), data, metrics=["latent_change"])
    assert without.skipped["latent change, mean of a dimension"].startswith(
        "encoder: the method works on no generative"
    )


@dataclass(eq=False, kw_only=True)
class OnlyLesions(Dice):
    """Asks for `healthy`, so that healthy images are left alone."""

    name = "only_lesions"

    def answer(self, query: Query) -> Answer:
        noise = super().answer(query).counterfactual
        return Answer(counterfactual=torch.where(query.asked.view(-1, 1, 1, 1), noise, query.image))

    def _target(self, target, posterior):
        return super()._target("healthy" if target is None else target, posterior)


def test_images_that_are_not_asked_count_for_nothing():
    classifier, data = corner_classifier(), corner_data()
    half = data.subset((classifier.decide(data[:].image) == 1).nonzero().flatten())
    for row, alone in zip(*(RepeatAgreement()(OnlyLesions(classifier), some, classifier) for some in (data, half)), strict=True):
        assert row.n == alone.n == 12 and row.value < 0.9
    other = data.subset((classifier.decide(data[:].image) == 0).nonzero().flatten())
    with pytest.raises(NotApplicable, match="answers: only_lesions is asked for none of these 12 images; evaluate others"):
        RepeatAgreement()(OnlyLesions(classifier), other, classifier)
    assert asked_rows(OnlyLesions(classifier), half[:].image).tolist() == list(range(12))


def test_slices_of_one_head_are_drawn_together():
    classifier, plain = corner_classifier(), corner_data()
    heads = MemoryDataset(dataclasses.replace(plain[:], group=torch.zeros(24, dtype=torch.int64)), plain.classes)
    rows = RepeatAgreement()(Dice(classifier), heads, classifier)
    assert all(row.low is None for row in rows)  # of one head nothing can be drawn
    assert all(row.low is not None for row in RepeatAgreement()(Dice(classifier), plain, classifier))
