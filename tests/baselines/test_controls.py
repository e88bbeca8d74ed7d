"""Controls: what they return, worked by hand, and what they refuse."""

import pytest
import torch
from torch import nn

from baselines.baseline_nets import SHAPE, Average, Convolutions, black_box, classifier, data, images, mixed, seeded
from obverse.baselines import BASELINES, baseline
from obverse.baselines.common import blur, contrast, margin
from obverse.baselines.controls import (
    AdversarialNoise,
    Identity,
    ImageMinusBlur,
    MeanImage,
    RandomMap,
    RawImage,
    Reconstruction,
)
from obverse.baselines.pgd import PGD
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.explainer import LearnedExplainer, Query
from obverse.explanation import NotApplicable, as_saved
from obverse.methods import LEARNED, METHODS, method
from obverse.probe import WITHOUT_GRADIENT
from obverse.search import Minimum


def test_raw_image_is_the_image_and_its_negative():
    x = images()
    assert torch.equal(RawImage(classifier()).explain(x).attribution, x)
    assert torch.equal(RawImage(classifier(), tone="dark").explain(x).attribution, 1 - x)


def test_blur_against_a_slow_sum():
    x, sigma = images(1), 0.8
    reach = 3  # 3 sigma, rounded up
    weight = torch.tensor([[pow(2.718281828459045, -(i * i + j * j) / (2 * sigma**2)) for j in range(-reach, reach + 1)]
                           for i in range(-reach, reach + 1)])  # fmt: skip
    weight = weight / weight.sum()
    for row, column in ((0, 0), (5, 6), (11, 3)):
        total = 0.0
        for i in range(-reach, reach + 1):
            for j in range(-reach, reach + 1):
                y, z = min(max(row + i, 0), 11), min(max(column + j, 0), 11)
                total += float(weight[i + reach, j + reach] * x[0, 0, y, z])
        assert float(blur(x, sigma)[0, 0, row, column]) == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("tone", ["both", "bright", "dark"])
def test_image_minus_blur_finds_a_spot(tone):
    x = torch.full((1, *SHAPE), 0.5)
    x[0, 0, 6, 6], x[0, 0, 2, 2] = 1.0, 0.0
    shown = ImageMinusBlur(classifier(), sigma=2.0, tone=tone).explain(x).attribution[0, 0]
    bright, dark = float(shown[6, 6]) > 0.4, float(shown[2, 2]) > 0.4
    assert (bright, dark) == {"both": (True, True), "bright": (True, False), "dark": (False, True)}[tone]


def test_random_maps_differ_between_images_and_seeds_and_not_between_batches():
    x, explainer = images(4), RandomMap(classifier())
    shown = explainer.explain(x, seed=1).attribution
    assert torch.equal(explainer.explain(x[2:3], seed=1).attribution, shown[2:3])
    assert (shown[0] - shown[1]).abs().mean() > 0.1
    assert (explainer.explain(x, seed=2).attribution - shown).abs().mean() > 0.1
    assert shown.min() >= 0 and shown.max() < 1 and shown.mean() == pytest.approx(0.5, abs=0.05)


def test_identity_changes_nothing_and_is_never_valid():
    found = Identity(classifier()).explain(images())
    assert not found.valid.any() and found.attribution.max() == 0


def test_mean_image_is_the_mean_of_what_is_decided():
    chosen, reference = classifier(), data()
    found = MeanImage(chosen, reference).explain(images(6))
    everything = reference[slice(None)].image
    decided = chosen.decide(everything)
    for row in range(6):
        expected = everything[decided == found.target[row]].mean(0)
        torch.testing.assert_close(found.counterfactual[row], expected, rtol=0, atol=0.5 / 255 + 1e-6)


def test_reconstruction_reports_its_error():
    blurred = nn.AvgPool2d(3, 1, 1)
    found = Reconstruction(classifier(), blurred).explain(images())
    torch.testing.assert_close(found.counterfactual, blurred(images()), rtol=0, atol=0.5 / 255 + 1e-6)
    torch.testing.assert_close(found.residual, (blurred(images()) - images()).abs().flatten(1).mean(1))


@pytest.mark.parametrize("epsilon", [0.1, 1 / 255])
def test_adversarial_noise_matches_the_size_but_for_a_pixel_also_after_clipping_and_rounding(epsilon):
    chosen = classifier()
    x = mixed(chosen, 6).round()  # black and white pixels: half of every change is clipped
    other = PGD(chosen, epsilon=epsilon, rate=epsilon / 5, steps=10)
    found, model = AdversarialNoise(chosen, other).explain(x), other.explain(x)
    size, wanted = ((answer.counterfactual - x).abs().flatten(1).mean(1) for answer in (found, model))
    pixel = (found.counterfactual - x).abs().flatten(1).amax(1) / x[0].numel()
    assert wanted.min() > 0 and (size <= wanted + 1e-6).all() and (size > wanted - pixel - 1e-6).all()
    gain = found.posterior_after - found.posterior_before
    assert (gain.gather(1, found.target[:, None]) > 0).all()


def test_adversarial_noise_is_the_furthest_of_all_radii_and_never_behind_the_first(monkeypatch):
    chosen = classifier()
    x = as_saved(mixed(chosen, 12))
    other = PGD(chosen, epsilon=0.05, rate=0.02, steps=10)
    target = other.explain(x).target

    def made(*radii):
        monkeypatch.setattr("obverse.baselines.controls.RADII", radii)
        found = AdversarialNoise(chosen, other).answer(Query(image=x, source=1 - target, target=target, seed=0,
                                                             answer=torch.zeros_like(target)))  # fmt: skip
        return found.counterfactual

    one_by_one = torch.stack([margin(chosen.logits(made(radius)), target) for radius in (1.0, 2.0, 4.0, 8.0)])
    best = made(1.0, 2.0, 4.0, 8.0)
    torch.testing.assert_close(margin(chosen.logits(best), target), one_by_one.amax(0))
    size = (other.explain(x).counterfactual - x).abs().flatten(1).mean(1)
    pixel = (best - x).abs().max() / x[0].numel()
    torch.testing.assert_close((best - x).abs().flatten(1).mean(1), size, rtol=0, atol=float(pixel) + 1e-6)


def test_adversarial_noise_is_as_large_where_no_noise_helps(monkeypatch):
    chosen = classifier()
    x = as_saved(mixed(chosen, 4))
    other = PGD(chosen, epsilon=0.05, rate=0.02, steps=10)
    monkeypatch.setattr("obverse.baselines.controls.minimise",
                        lambda objective, start, **_: Minimum(start, *[torch.zeros(len(start))] * 3))  # fmt: skip
    found = AdversarialNoise(chosen, other).explain(x)
    size = (other.explain(x).counterfactual - x).abs().flatten(1).mean(1)
    torch.testing.assert_close((found.counterfactual - x).abs().flatten(1).mean(1), size, rtol=0, atol=1 / 255)
    assert size.min() > 0.01


def test_adversarial_noise_of_nothing_is_nothing():
    chosen = classifier()
    found = AdversarialNoise(chosen, Identity(chosen)).explain(mixed(chosen))
    assert found.difference.abs().max() <= 1.5 / 255  # what rounding to 8 bits changes


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda c: ImageMinusBlur(c, sigma=0), ValueError, "sigma: expected more than 0 for image_minus_blur, got 0"),
        (lambda c: MeanImage(c, data().subset(torch.tensor([], dtype=torch.int64))), ValueError,
         r"reference: expected images of shape \(1, 12, 12\), got 0"),
        (lambda c: MeanImage(c, MemoryDataset(Sample(image=torch.rand(3, 1, 8, 8)), ["a", "b"])), ValueError,
         r"got 3 of \(1, 8, 8\); pass the classifier's own"),
        (lambda c: MeanImage(c, data().subset(c.decide(data()[slice(None)].image) == 0)).explain(images(1), 1),
         ValueError, "reference: the classifier decides 'b' for none of its"),
        (lambda c: Reconstruction(c, nn.Flatten()).explain(images()), ValueError,
         r"autoencoder: expected images of shape \(4, 1, 12, 12\) back, got \(4, 144\)"),
        (lambda c: AdversarialNoise(c, RawImage(c)).explain(images()), NotApplicable,
         "adversarial_noise needs counterfactuals, got raw_image, which makes none"),
        (lambda c: AdversarialNoise(c, Identity(classifier(gain=1.0))), ValueError,
         "explainer: identity explains another classifier than adversarial_noise"),
        (lambda c: AdversarialNoise(c, Identity(c), steps=0), ValueError, "steps: expected more than 0"),
        (lambda c: baseline("mean"), ValueError, "baseline: expected one of raw_image, .* got 'mean'"),
    ],
)  # fmt: skip
def test_errors_name_argument_expectation_and_remedy(make, kind, message):
    with pytest.raises(kind, match=message):
        make(classifier())


def test_every_baseline_without_gradient_is_named_and_works_on_a_black_box():
    free = [name for name in BASELINES if not baseline(name).needs_gradient]
    controls = [name for name in BASELINES if "controls" in BASELINES[name] and name != "adversarial_noise"]
    learned = [name for name in METHODS if issubclass(method(name), LearnedExplainer) and not method(name).needs_gradient]
    named = {word.strip("(),") for word in WITHOUT_GRADIENT.split()}
    assert set(free) - set(controls) | set(learned) <= named and set(controls) < set(free)
    box = black_box()
    parts = {"mean_image": [data()], "nearest": [data()], "reconstruction": [nn.Identity()]}
    for name in free:
        found = baseline(name)(box, *parts.get(name, [])).explain(images())
        assert found.attribution.shape == (4, 1, 12, 12), name
    assert baseline("nearest")(box, data()).describe()["searched in"] == "pixels"


@pytest.mark.parametrize("name", [name for name in BASELINES if baseline(name).needs_gradient])
def test_a_black_box_is_refused_with_the_names_of_those_that_work(name):
    box = black_box()
    parts = {"adversarial_noise": [Identity(box)], "latent_gradients": [Identity(box)], "cve": [data()]}.get(name, [])
    with pytest.raises(NotApplicable, match=f"{name}: needs the classifier's gradient.*occlusion, cxplain, nearest"):
        baseline(name)(box, *parts)


@pytest.mark.parametrize("name", ["gradient", "gradcam", "occlusion", "pgd", "cem", "nearest"])
def test_a_multilabel_classifier_is_explained_label_by_label(name):
    network = seeded(Convolutions(), 3.0, labels=True)
    chosen = Classifier(network, ["edema", "fracture"], SHAPE, head="multilabel", device="cpu")
    parts = [data()] if name == "nearest" else []
    with pytest.raises(NotApplicable, match=r"labels are not exclusive; choose one of edema, fracture"):
        baseline(name)(chosen, *parts).explain(images())
    settings = {"steps": 30} if name in ("cem", "pgd") else {}
    found = baseline(name)(chosen.label("edema"), *parts, **settings).explain(mixed(chosen.label("edema"), 2))
    assert found.classes == ("no edema", "edema") and found.attribution.sum() > 0


SEARCHES = {"cem": {"steps": 30}, "pgd": {"steps": 30}, "wachter": {"steps": 30}, "bbmp": {"steps": 20}, "cve": {}}


def of_any_head(name, chosen):
    """A baseline for a classifier of two classes, whatever its head."""
    parts = {"mean_image": [data()], "nearest": [data()], "cve": [data()], "reconstruction": [nn.Identity()]}
    parts |= {"adversarial_noise": [PGD(chosen, steps=20)]}
    return baseline(name)(chosen, *parts.get(name, []), **SEARCHES.get(name, {}))


HEADS = [name for name in BASELINES if name not in LEARNED and name != "latent_gradients"]


@pytest.mark.parametrize("name", HEADS)
def test_every_baseline_takes_a_label_of_many_and_a_single_logit(name):
    labels = Classifier(seeded(Average(), 3.0, labels=True), ["edema", "fracture"], SHAPE, head="multilabel", device="cpu")
    for chosen, classes in ((labels.label("edema"), ("no edema", "edema")), (classifier(Average(1)), ("a", "b"))):
        x = mixed(chosen, 4)
        found = of_any_head(name, chosen).explain(x)
        assert found.classes == classes and set(found.source.tolist()) == {0, 1}
        assert found.attribution.shape == (4, 1, 12, 12) and torch.isfinite(found.attribution).all()
        if name != "identity":
            assert found.attribution.sum() > 0 or name in ("reconstruction", "bbmp")


@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "smoothgrad"])
def test_one_logit_has_a_map_for_either_class(name):
    chosen = classifier(Average(1))
    x = mixed(chosen, 4)
    logit = chosen.module(x)[:, 0]
    source = chosen.decide(x)
    torch.testing.assert_close(contrast(chosen, x, source, 1 - source), torch.where(source == 1, logit, -logit))
    found = baseline(name)(chosen).explain(x)
    assert set(found.source.tolist()) == {0, 1}
    assert (found.attribution.flatten(1).amax(1) > 0).all()


def test_pgd_takes_a_one_logit_head():
    chosen = classifier(Convolutions(1))
    assert PGD(chosen, steps=60).explain(mixed(chosen, 4)).valid.all()
