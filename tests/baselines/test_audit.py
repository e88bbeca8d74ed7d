"""audit(): explainers whose verdicts are known."""

import json
from dataclasses import dataclass

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from baselines.baseline_nets import Convolutions, black_box, classifier, data, images, seeded
from obverse.audit import audit, randomised, rank_correlation
from obverse.baselines.attribution import Gradient, IntegratedGradients
from obverse.baselines.controls import Identity, RawImage
from obverse.baselines.cxplain import CXPlain
from obverse.baselines.nearest import Nearest
from obverse.baselines.pgd import PGD
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.explainer import Answer, Explainer
from obverse.explanation import NotApplicable

SHAPE = (1, 12, 12)


class Left(nn.Module):
    """Decides by the left half's brightness; `stray` are weights elsewhere that fool this network alone."""

    def __init__(self, stray: float, seed: int) -> None:
        super().__init__()
        self.out = nn.Linear(144, 2)
        weight = stray * torch.randn(12, 12, generator=torch.Generator().manual_seed(seed))
        weight[:, :6] += 0.5 - weight[:, :6].mean()
        weight[:, 6:] -= weight[:, 6:].mean()
        with torch.no_grad():
            self.out.weight.copy_(torch.stack([torch.zeros(144), weight.flatten()]))
            self.out.bias.copy_(torch.tensor([0.0, -0.5 * float(weight.sum())]))

    def forward(self, image):
        return self.out(image.flatten(1))


@dataclass(eq=False, kw_only=True)
class Swap(Explainer):
    """Brightens or darkens the left half."""

    name = "swap"
    needs_gradient = False

    def answer(self, query):
        image = query.image.clone()
        image[..., :6] = 1 - image[..., :6]
        return Answer(counterfactual=image, stable=query.image.clone())


def halves(count=24):
    level = torch.where(torch.arange(count) % 2 == 0, 0.25, 0.75).view(-1, 1, 1, 1)
    image = 0.5 + 0.1 * (images(count, 3) - 0.5)
    image[..., :6] += level - 0.5
    return MemoryDataset(Sample(image=image), ["dark", "bright"])


def pair():
    return [Classifier(Left(3.0, seed), ["dark", "bright"], SHAPE, device="cpu") for seed in (1, 2)]


def verdicts(report):
    return {check.name: check.passed for check in report.checks}


def test_a_true_change_passes_and_pgd_does_not():
    first, second = pair()
    report = audit(Swap(first), halves(12), second_classifier=second)
    found = verdicts(report)
    assert found["transfer"] and found["adversarial noise of equal L1"] and found["reconstruction only"]
    adversarial = audit(PGD(first, rate=0.01), halves(12), second_classifier=second)
    found = verdicts(adversarial)
    assert found["transfer"] is False and found["adversarial noise of equal L1"] is False
    assert not adversarial.passed


def test_a_map_of_the_image_does_not_change_with_the_weights_and_a_gradient_does():
    chosen = classifier()
    raw, gradient = (audit(explainer(chosen), data(20)).checks[0] for explainer in (RawImage, Gradient))
    assert raw.passed is False and raw.value == pytest.approx(1.0)
    assert gradient.passed is True and gradient.value < 0.5
    assert "correlate by 1.00" in raw.words and "Adebayo" in raw.means


@dataclass(eq=False, kw_only=True)
class Smoothed(Explainer):
    """Keeps a blurred copy as its stable image."""

    name = "smoothed"
    needs_gradient = False

    side: int = 1

    def answer(self, query):
        stable = nn.functional.avg_pool2d(query.image, self.side, 1, self.side // 2)
        return Answer(counterfactual=query.image.clone(), stable=stable)


@dataclass(eq=False, kw_only=True)
class Asked(Explainer):
    """Maps the image where something is asked, and noise elsewhere."""

    name = "asked"
    needs_gradient = False

    def answer(self, query):
        asked = (query.source != query.target).view(-1, 1, 1, 1)
        return Answer(attribution=torch.where(asked, query.image, torch.rand_like(query.image)))


def test_only_images_that_the_other_classifier_is_asked_about_count():
    chosen = classifier()
    check = audit(Asked(chosen), data(40), target="b").checks[0]
    assert check.passed is False and check.value == pytest.approx(1.0)  # about half are decided "b" by the randomised one
    always = classifier()
    with torch.no_grad():
        [layer for layer in always.module.modules() if isinstance(layer, nn.Linear)][-1].bias[1] += 1e3
    check = audit(Asked(chosen), data(40), target="b", rebuild=lambda _: Asked(always)).checks[0]
    assert check.passed is None and check.value is None
    assert check.words.startswith("the classifier to compare with already decides 'b' for all ")


def test_a_reconstruction_that_flips_decisions_fails():
    chosen = classifier()
    for side, passed in ((1, True), (11, False)):
        assert audit(Smoothed(chosen, side=side), data(30)).checks[1].passed is passed


def test_the_reconstruction_of_a_network_that_is_no_part_of_the_method_is_no_verdict():
    chosen = classifier()
    for module, kept in ((nn.Identity(), "100.0%"), (nn.AvgPool2d(11, 1, 5), None)):
        module.train()
        check = audit(Identity(chosen), data(30), autoencoder=module).checks[1]
        assert check.passed is None and module.training
        assert (check.value == 1.0) == (kept is not None) and check.words.startswith("identity makes no reconstruction; of an")
        assert kept is None or kept in check.words


def test_attributes_that_move_are_named():
    chosen = classifier()
    network = seeded(Convolutions(3), 3.0, labels=True)
    watcher = Classifier(network, ["hair", "hat", "a"], SHAPE, head="multilabel", device="cpu")
    still = audit(Identity(chosen), data(30), attribute_classifier=watcher).checks[4]
    assert still.passed is True and still.value == 0
    check = audit(Nearest(chosen, data(30)), data(30), attribute_classifier=watcher).checks[4]
    assert check.passed is False and ("'hair'" in check.words or "'hat'" in check.words)
    before, after = (Nearest(chosen, data(30)).explain(data(30)[slice(None)].image).image,
                     Nearest(chosen, data(30)).explain(data(30)[slice(None)].image).counterfactual)  # fmt: skip
    flips = [(watcher.label(name).decide(before) != watcher.label(name).decide(after)).float().mean() for name in
             ("hair", "hat")]  # fmt: skip
    assert check.value == pytest.approx(float(sum(flips)) / 2)


def test_what_is_missing_is_named_and_not_a_pass():
    chosen = classifier()
    report = audit(Identity(chosen), data(10))
    words = {check.name: check.words for check in report.checks if check.passed is None}
    assert words["transfer"] == "pass second_classifier"
    assert words["attribute flips"].startswith("pass attribute_classifier")
    assert words["reconstruction only"].endswith("pass autoencoder to see what one would do")
    learned = audit(CXPlain(chosen, width=4), data(10)).checks
    assert "must be trained for the randomised classifier; pass rebuild" in learned[0].words
    assert (
        learned[1].words
        == learned[2].words
        == learned[3].words
        == learned[4].words
        == "cxplain makes no counterfactual"
    )
    assert not audit(CXPlain(chosen, width=4), data(10)).passed
    again = audit(CXPlain(chosen, width=4), data(10), rebuild=lambda other: CXPlain(other, width=4)).checks[0]
    assert again.passed is False and again.value == pytest.approx(1.0)  # untrained, it knows of no classifier
    other = audit(CXPlain(chosen, width=4), data(10), rebuild=lambda other: CXPlain(other, width=4, seed=7)).checks[0]
    assert other.passed is None and other.words.endswith("too little to tell; train longer")
    boxed = audit(Identity(black_box()), data(10))
    assert "black box has no weights" in boxed.checks[0].words


def test_parts_that_are_explainers_are_bound_to_the_randomised_classifier_too():
    chosen = classifier()
    explainer = IntegratedGradients(chosen, PGD(chosen, steps=5), baseline="counterfactual", steps=5)
    check = audit(explainer, data(6)).checks[0]
    assert check.passed is not None


def test_the_report_is_json_and_lines():
    report = audit(RawImage(classifier()), data(10))
    assert json.loads(json.dumps(report.to_dict()))["passed"] is False
    assert report.images == 10 and report.explainer == "raw_image"
    assert report.lines()[0].startswith("     FAIL  randomised weights: ")
    assert report.lines()[6].startswith("not asked  transfer: ")
    assert report.lines()[1::2] == [f"           {check.means}" for check in report.checks]
    assert all("passes" in line for line in report.lines()[1::2])


def test_randomised_keeps_every_value_and_leaves_the_original():
    chosen = classifier().against_rest("a")
    before = chosen.fingerprint
    other, again = randomised(chosen, 1), randomised(chosen, 1)
    assert chosen.fingerprint == before and other.fingerprint == again.fingerprint != before
    assert other.classes == chosen.classes and other.view == chosen.view
    for one, two in zip(chosen.module.parameters(), other.module.parameters()):
        assert torch.equal(one.flatten().sort().values, two.flatten().sort().values)
    x = images(3)
    assert not torch.allclose(other.features(x), chosen.features(x))
    with pytest.raises(NotApplicable, match="a black box has no weights to randomise; pass the module itself"):
        randomised(black_box())


@pytest.mark.parametrize("outputs", [2, 3])
def test_a_randomised_classifier_decides_every_class(outputs):
    chosen = Classifier(Convolutions(outputs), [f"c{k}" for k in range(outputs)], SHAPE, device="cpu")
    x = images(60, 5)
    counts = torch.bincount(randomised(chosen, 1, x).decide(x), minlength=outputs)
    assert int(counts.min()) >= 0.8 * 60 // outputs
    view = chosen.against_rest("c1")
    counts = torch.bincount(randomised(view, 1, x).decide(x), minlength=2)
    assert int(counts.min()) >= 25


def test_rank_correlation_against_scipy():
    one, other = images(4, 1).round(decimals=1), images(4, 2).round(decimals=1)
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one, other)]
    torch.testing.assert_close(rank_correlation(one, other), torch.tensor(expected, dtype=torch.float64))
    assert rank_correlation(one, torch.zeros_like(one)).tolist() == [0, 0, 0, 0]
    assert rank_correlation(torch.zeros_like(one), torch.ones_like(one)).tolist() == [1, 1, 1, 1]


def test_a_map_that_never_changes_fails_the_check_of_randomised_weights():
    first = audit(Identity(classifier()), data(10)).checks[0]
    assert first.value == 1 and first.passed is False


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 0}, "data, images: expected at least one image, got 10 and images=0"),
        ({"second_classifier": classifier(Convolutions(3), 3)}, "second_classifier: expected classes"),
    ],
)
def test_errors_name_argument_expectation_and_remedy(settings, message):
    with pytest.raises(ValueError, match=message):
        audit(Identity(classifier()), data(10), **settings)
    chosen = classifier()
    one = data(30).subset(chosen.decide(data(30)[slice(None)].image) == 0)
    with pytest.raises(ValueError, match="target: the classifier already decides 'a' for all"):
        audit(Identity(chosen), one, target="a")
