"""The one contract that every method and every baseline keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from obverse import baselines, methods
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.explainer import Explainer, LearnedExplainer
from obverse.explanation import Explanation
from obverse.models.dcgan import DCGAN
from obverse.training import fit
from tiny_core import SHAPE


class Pooled(nn.Module):
    """Decides by the mean brightness, through a convolution, a global average and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 3, 3, padding=1, padding_mode="replicate"), nn.ReLU()
        self.out = nn.Linear(3, 2)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.conv.weight.copy_(0.1 * torch.randn(3, 1, 3, 3, generator=generator))
            self.conv.weight[0] = 1 / 9
            self.conv.bias.zero_()
            self.out.weight.copy_(torch.tensor([[0.0, 0.2, -0.1], [10.0, 0.1, 0.1]]))
            self.out.bias.copy_(torch.tensor([0.0, -5.0]))

    def forward(self, image):
        return self.out(self.relu(self.conv(image)).mean((2, 3)))


def pooled_classifier() -> Classifier:
    return Classifier(Pooled(), ["dark", "bright"], SHAPE, device="cpu")


def pooled_data(count: int = 24) -> MemoryDataset:
    image = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)) * 0.4
    image[count // 2 :] += 0.6
    return MemoryDataset(Sample(image=image, label=(torch.arange(count) >= count // 2).long()), ["dark", "bright"])


SMALL = {"width": 4, "critic_width": 3, "critic_levels": 2}
MEDXGAN = {"anatomy": 12, "pathology": 3, "width": 2, "critic_width": 2, "search_steps": 5}
SETTINGS = {  # what makes them quick; the default is none
    "syce": SMALL, "cyce": SMALL, "ssye": SMALL, "cycsae": SMALL, "conditional_syce": SMALL, "conditional_cyce": SMALL,
    "sagen": {"width": 4}, "mgen": {"width": 4}, "explaingan": {"width": 4, "latent_size": 6},
    "medxgan": MEDXGAN, "latent_gradients": {"steps": 3},
    "exaggeration": {"bins": 2, "thin": 4, "width": 4, "critic_width": 4},
    "cyclegan": SMALL, "cxgan": SMALL, "cxgan_cascaded": SMALL,
    "vagan": {"width": 4, "critic_width": 2, "critic_levels": 2, "critic_moves": 1, "many_moves": 1},
    "smoothgrad": {"copies": 3}, "integrated_gradients": {"steps": 5}, "bbmp": {"steps": 10},
    "pgd": {"steps": 20}, "wachter": {"rounds": 2, "steps": 10}, "cem": {"searches": 2, "steps": 20},
    "cve": {"edits": 4}, "cxplain": {"width": 4}, "xgem": {"steps": 20},
}  # fmt: skip


def small_model() -> DCGAN:
    """A generative model of the images, with random weights: the same at every call."""
    return DCGAN(SHAPE, latent_size=6, width=4)


PARTS = {  # what they need besides the classifier
    "latent_gradients": lambda classifier: [methods.method("medxgan")(classifier, absent=None, **MEDXGAN)],
    "xgem": lambda classifier: [small_model()],
    "c3lt": lambda classifier: [small_model()],
    "mean_image": lambda classifier: [pooled_data()],
    "nearest": lambda classifier: [pooled_data()],
    "cve": lambda classifier: [pooled_data()],
    "reconstruction": lambda classifier: [nn.AvgPool2d(3, 1, 1)],
    "adversarial_noise": lambda classifier: [methods.method("syce")(classifier, **SMALL)],
}
NAMES = [*methods.METHODS, *baselines.BASELINES]


def class_of(name: str) -> type[Explainer]:
    return methods.method(name) if name in methods.METHODS else baselines.baseline(name)


def parts_of(name: str, classifier: Classifier) -> list:
    return PARTS[name](classifier) if name in PARTS else []


def make(name: str, classifier: Classifier) -> Explainer:
    return class_of(name)(classifier, *parts_of(name, classifier), **SETTINGS.get(name, {}))


LEARNED = [name for name in NAMES if issubclass(class_of(name), LearnedExplainer)]
FIELDS = ("counterfactual", "stable", "attribution", "difference", "residual", "posterior_after")
IMAGES = pooled_data()[torch.tensor([0, 12, 1, 13, 2])].image


def same(one: Explanation, other: Explanation, tolerance: float = 0.0, rows=slice(None)) -> None:
    for name in FIELDS:
        first, second = getattr(one, name), getattr(other, name)
        assert (first is None) == (second is None), name
        if first is not None:
            assert float((first[rows] - second).abs().max()) <= tolerance, name


@pytest.mark.parametrize("name", NAMES)
def test_shapes_ranges_and_names(name):
    classifier = pooled_classifier()
    explainer = make(name, classifier)
    assert explainer.name == name
    explanation = explainer.explain(IMAGES, seed=3)
    assert explanation.method == name and len(explanation) == 5
    assert explanation.source.tolist() == [0, 1, 0, 1, 0] and explanation.target.tolist() == [1, 0, 1, 0, 1]
    assert explanation.attribution.shape == (5, 1, 16, 16) and explanation.attribution.dtype == torch.float32
    assert torch.isfinite(explanation.attribution).all() and explanation.attribution.min() >= 0
    assert torch.equal(explanation.image, IMAGES) and explanation.query.tolist() == [0, 1, 2, 3, 4]
    for image in (explanation.counterfactual, explanation.stable):
        if image is not None:
            assert image.shape == IMAGES.shape and image.dtype == torch.float32
            assert image.min() >= 0 and image.max() <= 1
            torch.testing.assert_close(image * 255, (image * 255).round(), rtol=0, atol=1e-3)
    start = explanation.image if explanation.stable is None else explanation.stable
    if explanation.counterfactual is None:
        assert not explanation.valid.any() and explanation.difference is None
    else:
        torch.testing.assert_close(explanation.difference, explanation.counterfactual - start)
        decided = classifier.decide(explanation.counterfactual)
        assert torch.equal(explanation.valid, decided == explanation.target)
        path = explainer.path(IMAGES, frames=3)
        assert path.shape == (5, 3, *SHAPE) and path.min() >= 0 and path.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_answer(name):
    explainer = make(name, pooled_classifier())
    same(explainer.explain(IMAGES, seed=5), explainer.explain(IMAGES, seed=5))


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_does_not_depend_on_its_batch_mates(name):
    explainer = make(name, pooled_classifier())
    whole, rows = explainer.explain(IMAGES, seed=2), torch.tensor([1, 4])
    # what is saved in 8 bits may fall to either side of a rounding
    part = explainer.explain(IMAGES[rows], seed=2)
    torch.testing.assert_close(whole.attribution[rows], part.attribution, rtol=1e-4, atol=1e-5)
    if whole.counterfactual is not None:
        away = (whole.counterfactual[rows] - part.counterfactual).abs()
        assert away.max() <= 1.01 / 255 and (away > 1e-5).float().mean() < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_alike_within_inference_mode(name):
    explainer = make(name, pooled_classifier())
    outside = explainer.explain(IMAGES, torch.tensor([1, 0, 1, 0, 1]))
    walks = outside.counterfactual is not None
    before = explainer.path(IMAGES, frames=3) if walks else None
    with torch.inference_mode():
        same(outside, explainer.explain(IMAGES + 0, torch.tensor([1, 0, 1, 0, 1])))
        if walks:
            torch.testing.assert_close(explainer.path(IMAGES + 0, frames=3), before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_no_trace_is_left(name):
    classifier = pooled_classifier()
    explainer = make(name, classifier)
    modules = explainer._modules()
    assert classifier.module in modules
    if isinstance(explainer, LearnedExplainer):
        assert explainer.networks in modules
    modes = [index % 2 == 0 for root in modules for index, _ in enumerate(root.modules())]
    for module, mode in zip((m for root in modules for m in root.modules()), modes, strict=True):
        module.training = mode
    weights = [{key: value.clone() for key, value in root.state_dict().items()} for root in modules]
    flags = [p.requires_grad for root in modules for p in root.parameters()]
    image, state = IMAGES.clone(), torch.get_rng_state()
    explanation = explainer.explain(image)
    assert [module.training for root in modules for module in root.modules()] == modes
    assert torch.equal(image, IMAGES) and not image.requires_grad and image.grad is None
    assert torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled()
    for root, before in zip(modules, weights, strict=True):
        assert all(torch.equal(before[key], value) for key, value in root.state_dict().items())
        for module in root.modules():
            assert not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
        assert all(parameter.grad is None for parameter in root.parameters())
    assert [p.requires_grad for root in modules for p in root.parameters()] == flags
    made = [getattr(explanation, name) for name in FIELDS]
    assert not any(value.requires_grad for value in made if value is not None)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_in_json(name):
    import json

    described = make(name, pooled_classifier()).describe()
    assert described["method"] == name and described["classifier"] == pooled_classifier().fingerprint
    for key, value in SETTINGS.get(name, {}).items():
        assert described["hyperparameters"][key] == value
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize("name", LEARNED)
def test_two_steps_move_every_parameter_and_the_output_is_not_constant(name, tmp_path):
    explainer = make(name, pooled_classifier())
    before = {key: value.clone() for key, value in explainer.networks.named_parameters()}
    fit(explainer, pooled_data(), validation=pooled_data(8), steps=2, batch_size=8, average=0, run_dir=tmp_path / "run",
        progress=False, precision="float32")  # fmt: skip
    still = [key for key, value in explainer.networks.named_parameters() if torch.equal(before[key], value)]
    assert not still
    made = explainer.explain(IMAGES)
    shown = made.attribution if made.counterfactual is None else made.counterfactual
    assert shown.flatten(1).std(1).min() > 0  # within every image
    assert (shown[0] - shown[2]).abs().max() > 0  # and between two images of one class


@pytest.mark.parametrize("name", LEARNED)
def test_saved_and_loaded_it_answers_alike(name, tmp_path):
    classifier = pooled_classifier()
    explainer = make(name, classifier)
    fit(explainer, pooled_data(), steps=2, batch_size=8, progress=False, precision="float32")
    explainer.save(tmp_path / "e")
    loaded = class_of(name).load(tmp_path / "e", classifier, *parts_of(name, classifier))
    same(explainer.explain(IMAGES), loaded.explain(IMAGES))
    if name == "c3lt":  # a part that may be left out, written as its default
        same(loaded.explain(IMAGES), class_of(name).load(tmp_path / "e", classifier, small_model(), None).explain(IMAGES))
    assert loaded.describe() == explainer.describe()
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == ["networks.safetensors", "settings.json"]


@pytest.mark.parametrize("name", [name for name in LEARNED if name in methods.METHODS])
def test_any_method_is_loaded_by_what_its_folder_says(name, tmp_path):
    classifier = pooled_classifier()
    explainer = make(name, classifier)
    explainer.save(tmp_path / "run" / "best")
    for folder in ("run", "run/best"):
        loaded = methods.load(tmp_path / folder, classifier, *parts_of(name, classifier))
        assert type(loaded) is class_of(name)
        same(explainer.explain(IMAGES), loaded.explain(IMAGES))
    with pytest.raises(FileNotFoundError, match=r"settings.json is missing"):
        methods.load(tmp_path, classifier)


def test_every_name_is_known_once():
    assert len(set(NAMES)) == len(NAMES)
    assert not (set(SETTINGS) | set(PARTS)) - set(NAMES)
    for find, message in ((methods.method, "method: expected one of syce"), (baselines.baseline, "baseline: expected")):
        with pytest.raises(ValueError, match=f"{message}.*got 'sice'"):
            find("sice")
