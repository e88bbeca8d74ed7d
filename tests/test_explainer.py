"""What Explainer makes of a method's answer, what it asks, what it refuses, and that it leaves no trace."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from obverse.classifier import Classifier
from obverse.data.augment import Augment
from obverse.explainer import Answer, Explainer, LearnedExplainer, Query
from obverse.explanation import NotApplicable, as_saved
from obverse.probe import WITHOUT_GRADIENT
from obverse.settings import restore
from obverse.training import fit
from tiny_core import SHAPE, bright_data


@dataclass(eq=False, kw_only=True)
class Shifted(Explainer):
    """Adds +-amount to the left half; keeps a slightly darker stable image; remembers what it was asked."""

    amount: float = 0.5
    keeps: bool = False
    name: ClassVar[str] = "shifted"
    asked: ClassVar[list] = []

    def answer(self, query: Query) -> Answer:
        self.asked.append(query)
        sign = torch.where(query.target == 1, 1.0, -1.0).view(-1, 1, 1, 1)
        changed = query.image.clone()
        changed[..., :8] += sign * self.amount
        stable = (query.image - 0.1).clamp(0, 1) if self.keeps else None
        return Answer(counterfactual=changed.clamp(0, 1), stable=stable)


@dataclass(eq=False, kw_only=True)
class Noisy(Explainer):
    """Answers with noise, several times, and makes a mess of everything it can reach."""

    name: ClassVar[str] = "noisy"
    many_answers: ClassVar[bool] = True
    has_knob: ClassVar[bool] = True
    layer: nn.Module = field(default_factory=lambda: nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), repr=False)

    def _modules(self):
        return [*super()._modules(), self.layer]

    def answer(self, query: Query) -> Answer:
        torch.rand(5)
        self.layer.eval()
        self.seen = [query, torch.is_grad_enabled(), self.classifier.module.training, self.layer[1].training]
        image = (query.image + 0.2 * query.normal(*query.image.shape[1:])).clamp(0, 1)
        return Answer(counterfactual=image, attribution=torch.ones_like(image), residual=image.flatten(1).mean(1))


@dataclass(eq=False, kw_only=True)
class Maps(Explainer):
    """Makes no counterfactual."""

    name: ClassVar[str] = "maps"

    def answer(self, query: Query) -> Answer:
        return Answer(attribution=query.image)


class Fixed(nn.Module):
    """Logits that are given pixels, so that decisions and runner-ups are known."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, image):
        return image[:, 0, 0, : self.classes] * 8


def three() -> Classifier:
    return Classifier(Fixed(), ["a", "b", "c"], SHAPE, device="cpu")


def with_logits(*rows) -> torch.Tensor:
    image = torch.zeros(len(rows), *SHAPE)
    image[:, 0, 0, :3] = torch.tensor(rows)
    return image


# ---------------------------------------------------------------------- targets


def test_without_a_target_it_is_the_other_class_or_the_runner_up(classifier, images):
    explanation = Shifted(classifier).explain(images)
    assert explanation.source.tolist() == [0, 1] * 4 and explanation.target.tolist() == [1, 0] * 4
    ranked = with_logits([0.9, 0.5, 0.1], [0.5, 0.1, 0.9], [0.1, 0.5, 0.9])
    explanation = Shifted(three()).explain(ranked)
    assert explanation.source.tolist() == [0, 2, 2] and explanation.target.tolist() == [1, 0, 1]


def test_in_a_tie_the_target_is_never_the_source():
    tied = with_logits([0.5, 0.5, 0.5], [0.1, 0.7, 0.7], [0.7, 0.1, 0.7], [0.7, 0.7, 0.1])
    explanation = Shifted(three()).explain(tied)
    assert explanation.asked.all()
    assert explanation.target.tolist()[1:] == [2, 2, 1]
    # torch.topk orders ties as it likes, differently from argmax
    five = Classifier(Fixed(5), list("abcde"), SHAPE, device="cpu")
    many = torch.randint(0, 3, (300, *SHAPE), generator=torch.Generator().manual_seed(0)) / 2
    explanation = Shifted(five).explain(many)
    assert explanation.asked.all()
    rest = explanation.posterior_before.scatter(1, explanation.source[:, None], -1)
    assert torch.equal(rest.gather(1, explanation.target[:, None])[:, 0], rest.amax(1))


@pytest.mark.parametrize("target", [
    1, "bright", torch.ones(8, dtype=torch.int64), torch.ones(8, dtype=torch.int32), [1] * 8, ["bright", 1] * 4,
    np.ones(8, dtype=np.int64), np.int64(1),
])  # fmt: skip
def test_targets_by_index_name_and_row(classifier, images, target):
    explanation = Shifted(classifier).explain(images, target)
    assert explanation.target.tolist() == [1] * 8 and explanation.target.dtype == torch.int64
    assert explanation.asked.tolist() == [True, False] * 4


@pytest.mark.parametrize("target, message", [
    ("grey", "target: expected one of 'dark', 'bright' or an index below 2, got 'grey'"),
    (2, "an index below 2, got 2"), (-1, "an index below 2, got -1"),
    (torch.tensor([0, 1, 0, 1, 0, 1, 0, 5]), "an index below 2, got 5"),
    (torch.zeros(3, dtype=torch.int64), r"expected \(8,\) class indices \(int64\), got torch.int64 of shape \(3,\)"),
    (torch.zeros(8), r"got torch.float32 of shape \(8,\); pass one index an image"),
    (torch.zeros(8, dtype=torch.bool), "got torch.bool of shape"),
    (0.9, "an index below 2, got 0.9"), ([0.9] * 8, "an index below 2, got 0.9"), (["bright", "grey"] * 4, "got 'grey'"),
    ([0, 1], "expected 8 classes, got 2; pass one an image, or one for all"),
])  # fmt: skip
def test_unknown_targets(classifier, images, target, message):
    with pytest.raises(ValueError, match=message):
        Shifted(classifier).explain(images, target)


# ---------------------------------------------------------------------- what is made of an answer


def test_the_explanation_of_an_answer(classifier, images):
    explainer = Shifted(classifier, amount=0.5)
    explanation = explainer.explain(images)
    expected = images.clone()
    expected[..., :8] += torch.tensor([0.5, -0.5] * 4).view(-1, 1, 1, 1)
    saved = as_saved(expected)
    assert torch.equal(explanation.counterfactual, saved)
    torch.testing.assert_close(explanation.difference, saved - images)
    torch.testing.assert_close(explanation.attribution, (expected.clamp(0, 1) - images).abs())
    torch.testing.assert_close(explanation.posterior_before, classifier.posterior(images))
    torch.testing.assert_close(explanation.posterior_after, classifier.posterior(saved))
    assert explanation.valid.tolist() == (classifier.decide(saved) == explanation.target).tolist() == [True] * 8
    assert explanation.query.tolist() == list(range(8)) and explanation.stable is None and explanation.residual is None
    assert (explanation.method, explanation.precision) == ("shifted", "float32")
    assert explanation.fingerprint == classifier.fingerprint and explanation.requested is None


def test_a_stable_image_takes_the_place_of_the_image(classifier, images):
    explanation = Shifted(classifier, keeps=True).explain(images)
    stable = (images - 0.1).clamp(0, 1)
    assert torch.equal(explanation.stable, as_saved(stable))
    torch.testing.assert_close(explanation.difference, explanation.counterfactual - explanation.stable)
    raw = images.clone()
    raw[..., :8] += torch.tensor([0.5, -0.5] * 4).view(-1, 1, 1, 1)
    torch.testing.assert_close(explanation.attribution, (raw.clamp(0, 1) - stable).abs())


def test_validity_is_taken_on_the_8_bit_image(classifier):
    @dataclass(eq=False, kw_only=True)
    class Flat(Explainer):
        name: ClassVar[str] = "flat"
        level: float = 0.5

        def answer(self, query: Query) -> Answer:
            return Answer(counterfactual=torch.full_like(query.image, self.level))

    dark, bright = torch.zeros(1, *SHAPE), torch.ones(1, *SHAPE)
    # the boundary is at 127.5 / 255: 127.6 is decided bright and saved as 128; 127.4 dark and saved as 127
    assert Flat(classifier, level=127.6 / 255).explain(dark).valid.all()
    assert Flat(classifier, level=127.4 / 255).explain(bright).valid.all()
    shifted = copy.copy(classifier)  # now at 127.8 / 255: 127.7 is decided dark, but would be saved as 128, bright
    shifted.module = copy.deepcopy(classifier.module)
    shifted.module.out.bias[1] = -12 * 127.8 / 255
    explanation = Flat(shifted, level=127.7 / 255).explain(dark)
    assert shifted.decide(torch.full_like(dark, 127.7 / 255)).item() == 0
    assert explanation.valid.all() and explanation.posterior_after[0, 1] > 0.5


def test_invalid_answers_are_returned_and_marked(classifier, images):
    explanation = Shifted(classifier, amount=0.01).explain(images)
    assert not explanation.valid.any() and len(explanation) == 8
    assert explanation.counterfactual is not None


def test_the_map_of_several_channels_is_their_mean():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    colour = Classifier(module, ["a", "b"], (3, 16, 16), device="cpu")

    @dataclass(eq=False, kw_only=True)
    class Red(Explainer):
        name: ClassVar[str] = "red"

        def answer(self, query: Query) -> Answer:
            image = query.image.clone()
            image[:, 0] = 1
            return Answer(counterfactual=image)

    image = torch.rand(2, 3, 16, 16)
    explanation = Red(colour).explain(image)
    torch.testing.assert_close(explanation.attribution, (1 - image[:, :1]) / 3)
    assert explanation.difference.shape == (2, 3, 16, 16)


def test_a_method_that_only_attributes(classifier, images):
    explanation = Maps(classifier).explain(images)
    assert explanation.counterfactual is None and explanation.difference is None and not explanation.valid.any()
    assert torch.equal(explanation.attribution, images)
    torch.testing.assert_close(explanation.posterior_after, explanation.posterior_before)
    with pytest.raises(NotApplicable, match="path: maps makes no counterfactual to walk to"):
        Maps(classifier).path(images)


def test_a_method_that_answers_nothing(classifier, images):
    @dataclass(eq=False, kw_only=True)
    class Silent(Explainer):
        name: ClassVar[str] = "silent"

        def answer(self, query: Query) -> Answer:
            return Answer()

    with pytest.raises(TypeError, match=r"silent.answer: expected a counterfactual or an attribution, got neither"):
        Silent(classifier).explain(images)


def test_no_images_give_no_rows(classifier):
    explanation = Noisy(classifier).explain(torch.zeros(0, *SHAPE), answers=2)
    assert len(explanation) == 0 and explanation.counterfactual.shape == (0, *SHAPE)


# ---------------------------------------------------------------------- several answers, noise, knob, path


def test_several_answers_are_rows_side_by_side(classifier, images):
    explanation = Noisy(classifier).explain(images[:3], answers=2, seed=7)
    assert explanation.query.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(explanation.image, images[[0, 0, 1, 1, 2, 2]])
    assert not torch.equal(explanation.counterfactual[0], explanation.counterfactual[1])
    one = Noisy(classifier).explain(images[:3], seed=7)
    assert torch.equal(explanation.counterfactual[::2], one.counterfactual)  # however many follow


def test_noise_is_a_function_of_the_seed_and_not_of_the_batch(classifier, images):
    explainer = Noisy(classifier)
    whole = explainer.explain(images, seed=1).counterfactual
    assert torch.equal(whole, explainer.explain(images, seed=1).counterfactual)
    assert not torch.equal(whole, explainer.explain(images, seed=2).counterfactual)
    assert torch.equal(whole[3:5], explainer.explain(images[3:5], seed=1).counterfactual)


def test_one_answer_of_a_method_that_has_one(classifier, images):
    with pytest.raises(NotApplicable, match="answers: shifted gives one answer an image, got 2; use a method with"):
        Shifted(classifier).explain(images, answers=2)
    with pytest.raises(ValueError, match="answers: expected at least 1, got 0; ask for one"):
        Noisy(classifier).explain(images, answers=0)


def test_the_knob_asks_for_a_posterior(classifier, images):
    explainer = Noisy(classifier)
    explanation = explainer.at(images, 0.25, of="bright", seed=3)
    assert explanation.requested.tolist() == [0.25] * 8 and explanation.target.tolist() == [1] * 8
    query = explainer.seen[0]
    assert query.posterior.tolist() == [0.25] * 8 and query.seed == 3
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"posterior: expected a probability in \[0, 1\], got .*; pass e.g. 0.5"):
            explainer.at(images, wrong, of=1)
    with pytest.raises(NotApplicable, match=r"at: shifted has no knob; use exaggeration, or path\(\) to cross-fade"):
        Shifted(classifier).at(images, 0.5, of=1)


@pytest.mark.parametrize("keeps", [False, True])
def test_the_path_cross_fades_from_the_methods_picture_to_the_counterfactual(classifier, images, keeps):
    explainer = Shifted(classifier, keeps=keeps)
    path, explanation = explainer.path(images, frames=5), explainer.explain(images)
    assert path.shape == (8, 5, *SHAPE) and path.dtype == torch.float32
    start = explanation.stable if keeps else images
    for k in range(5):
        expected = start + k / 4 * (explanation.counterfactual - start)
        torch.testing.assert_close(path[:, k], expected, rtol=0, atol=1 / 255)
    assert explainer.path_kind == "pixels cross-faded"
    with pytest.raises(ValueError, match="frames: expected at least 2, got 1; a path has two ends"):
        explainer.path(images, frames=1)


# ---------------------------------------------------------------------- no trace


@pytest.mark.parametrize("act", ["explain", "path", "at"])
def test_no_trace_is_left(classifier, images, act):
    explainer = Noisy(classifier)
    explainer.layer.train()
    explainer.layer[1].eval()
    classifier.module.train()
    explainer.layer[0].weight.grad = torch.ones(2, 2)
    image, kept = images.clone(), images.clone()
    state, weights = torch.get_rng_state(), {k: v.clone() for k, v in classifier.module.state_dict().items()}
    calls = {"explain": lambda: explainer.explain(image), "path": lambda: explainer.path(image),
             "at": lambda: explainer.at(image, 0.5, of=1)}  # fmt: skip
    made = calls[act]()
    assert explainer.seen[1:] == [False, False, False]  # no gradients, evaluation mode throughout
    assert classifier.module.training and explainer.layer.training
    assert explainer.layer[0].training and not explainer.layer[1].training  # each as it was found
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(image, kept) and not image.requires_grad
    assert torch.equal(explainer.layer[0].weight.grad, torch.ones(2, 2)) and explainer.layer[0].weight.requires_grad
    assert all(torch.equal(weights[k], v) for k, v in classifier.module.state_dict().items())
    assert torch.is_grad_enabled()
    found = made if isinstance(made, torch.Tensor) else made.counterfactual
    assert not found.requires_grad


def test_modes_and_random_state_are_put_back_after_an_error(classifier, images):
    @dataclass(eq=False, kw_only=True)
    class Fails(Explainer):
        name: ClassVar[str] = "fails"

        def answer(self, query: Query) -> Answer:
            torch.rand(3)
            raise RuntimeError("broken method")

    classifier.module.train()
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="broken method"):
        Fails(classifier).explain(images)
    assert classifier.module.training and torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled()


def test_an_image_that_requires_a_gradient_stays_out_of_the_graph(classifier, images):
    image = images.clone().requires_grad_(True)
    assert not Shifted(classifier).explain(image).image.requires_grad
    assert image.requires_grad and image.grad is None


def test_bf16_is_said_and_posteriors_stay_float32(classifier, images):
    @dataclass(eq=False, kw_only=True)
    class Low(Explainer):
        name: ClassVar[str] = "low"

        def answer(self, query: Query) -> Answer:
            flat = query.image.flatten(1)
            self.kind = (flat @ torch.eye(256)).dtype
            return Answer(counterfactual=(flat @ torch.eye(256)).view_as(query.image))

    explainer = Low(classifier)
    explanation = explainer.explain(images, precision="bf16")
    assert explainer.kind == torch.bfloat16 and explanation.precision == "bf16"
    for value in (getattr(explanation, n) for n in ("counterfactual", "posterior_after", "attribution", "difference")):
        assert value.dtype == torch.float32
    assert explainer.explain(images).precision == "float32" and explainer.kind == torch.float32


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize("word", ["bfloat16", "auto"])
def test_an_unknown_precision_is_refused(classifier, images, word):
    with pytest.raises(ValueError, match=f"precision: expected one of float32, bf16, got '{word}'; leave it out"):
        Shifted(classifier).explain(images, precision=word)


@pytest.mark.parametrize("act", ["explain", "path"])
def test_images_that_break_the_contract(classifier, images, act):
    run = getattr(Shifted(classifier), act)
    for image, kind, message in (
        (images[0], ValueError, "one image needs a batch axis"), (images * 255, ValueError, r"pixels in \[0, 1\]"),
        (images.double(), TypeError, "dtype torch.float32"), (images.expand(8, 3, 16, 16), ValueError, "got"),
        (images.numpy(), TypeError, "image: expected a torch.Tensor, got ndarray"),
    ):  # fmt: skip
        with pytest.raises(kind, match=message):
            run(image)


def test_a_method_that_needs_a_gradient_refuses_a_black_box(module, images):
    box = Classifier.black_box(lambda image: module(image), ["dark", "bright"], SHAPE)
    with pytest.raises(NotApplicable, match="shifted: needs the classifier's gradient, which a black box") as caught:
        Shifted(box)
    assert WITHOUT_GRADIENT in str(caught.value)

    @dataclass(eq=False, kw_only=True)
    class Free(Shifted):
        needs_gradient: ClassVar[bool] = False

    assert Free(box).explain(images).valid.all()


def test_what_it_says_of_itself(classifier):
    assert Shifted(classifier, amount=0.3).describe() == {
        "method": "shifted", "hyperparameters": {"amount": 0.3, "keeps": False}, "classifier": classifier.fingerprint
    }  # fmt: skip


def test_hyperparameters_come_back_from_json():
    @dataclass(eq=False, kw_only=True)
    class Settings:
        augment: Augment
        sides: tuple[int, ...]
        rate: float

    globals()["Settings"] = Settings
    found = restore(Settings, {"augment": {"rotation": 5.0, "zoom": [0.8, 1.0]}, "sides": [1, 2], "rate": 0.1})
    assert found == {"augment": Augment(rotation=5.0, zoom=(0.8, 1.0)), "sides": (1, 2), "rate": 0.1}
    with pytest.raises(ValueError, match="speed: Settings has no such hyperparameter; it was saved by another version"):
        restore(Settings, {"speed": 1})


# ---------------------------------------------------------------------- learned explainers


@dataclass(eq=False, kw_only=True)
class Learned(LearnedExplainer):
    """Adds a learned picture to the image, one a direction."""

    name: ClassVar[str] = "learned"
    scale: float = 0.2
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.networks = nn.ModuleDict({"step": nn.Linear(2, 256)})
        with torch.no_grad():
            self.networks["step"].weight.zero_()
            self.networks["step"].bias.zero_()

    def _moved(self, image, target):
        change = self.networks["step"](nn.functional.one_hot(target, 2).float()).view(-1, *SHAPE)
        return (image + self.scale * change).clamp(0, 1)

    def players(self):
        return {"step": torch.optim.Adam(self.networks.parameters(), 0.3)}

    def train_step(self, batch, step):
        target = 1 - self.classifier.decide(batch.image)
        logits = self.classifier.logits(self._moved(batch.image, target))
        yield "step", {"class": nn.functional.cross_entropy(logits, target)}

    def answer(self, query: Query) -> Answer:
        return Answer(counterfactual=self._moved(query.image, query.target))


def test_validation_is_one_minus_validity_plus_mean_l1(classifier, data):
    explainer = Learned(classifier)
    assert explainer.validate(data) == pytest.approx(1.0)  # nothing changes: no row valid, no distance
    with torch.no_grad():
        explainer.networks["step"].weight.copy_(torch.tensor([-1.0, 1.0]).expand(256, 2))
    explanation = explainer.explain(data[slice(None)].image)
    l1 = (explanation.counterfactual - explanation.image).abs().mean().item()
    by_hand = 1 - sum(explanation.valid.tolist()) / 32 + l1
    assert explainer.validate(data) == pytest.approx(by_hand, rel=1e-5) and by_hand != 1.0


@pytest.mark.parametrize("several, seeds", [(True, [0, 1]), (False, [0])])
def test_validation_of_several_answers_looks_at_more_than_one_noise(several, seeds, classifier, data, monkeypatch):
    monkeypatch.setattr(Learned, "many_answers", several)
    asked = []
    explain = Learned.explain
    monkeypatch.setattr(Learned, "explain", lambda self, image, seed: asked.append(seed) or explain(self, image, seed=seed))
    Learned(classifier).validate(data)
    assert asked == seeds


def test_validation_without_an_image_to_ask_about_says_so(classifier, data):
    with pytest.raises(ValueError, match=r"expected images that .* can be asked about, got none among 0; pass images"):
        Learned(classifier).validate(data.subset([]))


def test_it_learns_is_saved_and_loaded_by_folder_and_by_run(classifier, data, images, tmp_path):
    explainer = Learned(classifier, augment=Augment(rotation=3.0))
    fit(explainer, data, validation=data, steps=20, batch_size=16, validate_every=10, run_dir=tmp_path / "run",
        average=0, progress=False, precision="float32")  # fmt: skip
    made = explainer.explain(images)
    assert made.valid.all()
    explainer.save(tmp_path / "alone")
    for folder in ("run", "run/best", "alone"):
        loaded = Learned.load(tmp_path / folder, classifier)
        assert torch.equal(loaded.explain(images).counterfactual, made.counterfactual)
        assert loaded.augment == Augment(rotation=3.0) and not loaded.networks.training
    assert not [key for key in explainer.networks.state_dict() if "classifier" in key]
    # a crash between the two renames of the best weights
    (tmp_path / "run" / "best").rename(tmp_path / "run" / ".best.old")
    assert torch.equal(Learned.load(tmp_path / "run", classifier).explain(images).counterfactual, made.counterfactual)


def test_loading_what_is_not_there_or_of_another(classifier, module, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"settings.json is missing"):
        Learned.load(tmp_path, classifier)
    Learned(classifier).save(tmp_path / "e")
    with torch.no_grad():
        module.out.bias.add_(0.1)
    with pytest.raises(ValueError, match=r"was trained for another classifier \(fingerprint .*, got .*\); pass that"):
        Learned.load(tmp_path / "e", Classifier(module, ["dark", "bright"], SHAPE, device="cpu"))

    @dataclass(eq=False, kw_only=True)
    class Other(Learned):
        name: ClassVar[str] = "other"

    with pytest.raises(ValueError, match="holds 'learned', expected 'other'; load it with its own class"):
        Other.load(tmp_path / "e", classifier)


def test_the_sample_picture_has_a_column_an_image(classifier):
    data = bright_data(20)
    picture = Learned(classifier).pictures(data)
    assert picture.shape == (1, 3 * 16, 8 * 16)  # image, counterfactual, map: no stable image
    assert torch.equal(picture[:, :16, :16], data[0].image[0]) and torch.equal(picture[:, :16, -16:], data[-1].image[0])
    assert torch.equal(picture[:, 16:32, :16], as_saved(data[0].image[0])) and not picture[:, 32:].any()
    left = picture[0, :16].unflatten(1, (8, 16))[:, :, :8].mean((0, 2))
    assert (left[:4] < 0.5).all() and (left[4:] > 0.5).all()  # from both classes
    assert Learned(classifier).pictures(bright_data(4)).shape == (1, 3 * 16, 4 * 16)
