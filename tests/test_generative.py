"""GenerativeModel: noise, latents, refusals, fingerprints, frozen copies; and as a part of an explainer."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from torch import nn

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.explainer import Answer, LearnedExplainer
from obverse.explanation import NotApplicable
from obverse.generative import GenerativeModel
from obverse.models import load_model
from obverse.models.dcgan import DCGAN
from obverse.training import fit
from tiny_core import SHAPE, bright_data
from tiny_models import linear_model


def small(seed: int = 0) -> DCGAN:
    return DCGAN(SHAPE, latent_size=6, width=4, seed=seed)


def test_samples_are_a_function_of_the_seed():
    model = small()
    assert torch.equal(model.sample(5, seed=3), model.sample(5, seed=3))
    assert not torch.equal(model.sample(5, seed=3), model.sample(5, seed=4))
    assert model.sample(5).shape == (5, 6) and model.normal_size == 6
    state = torch.get_rng_state()
    model.decode(model.sample(2))
    assert torch.equal(state, torch.get_rng_state())


def test_a_steps_noise_becomes_latents():
    model = linear_model()
    step = Step(index=4, total=10, seed=1, rows=6)
    normal = step.normal(torch.empty(6, model.normal_size))
    assert torch.equal(model.from_normal(normal), normal)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda m: m.from_normal(torch.zeros(2, 9)), ValueError, r"normal: expected \(N, 8\) for adapter, got \(2, 9\)"),
    (lambda m: m.sample(2, target=1), NotApplicable, r"target: adapter is not conditional, got 1; sample without a class"),
    (lambda m: m.decode(torch.zeros(2, 9)), ValueError, r"latent: expected \(N, 8\) for adapter, got \(2, 9\)"),
    (lambda m: m.decode(torch.zeros(8)), ValueError, r"latent: expected \(N, 8\) for adapter, got \(8,\)"),
    (lambda m: m.encode(torch.zeros(2, 1, 28, 28)), ValueError, r"image: expected shape \(N, 1, 16, 16\)"),
    (lambda m: m.encode(torch.full((2, *SHAPE), 1.5)), ValueError, r"image: expected pixels in \[0, 1\]"),
    (lambda m: m.encode(torch.zeros(2, 1, 8, 8, requires_grad=True)), ValueError, r"image: expected shape"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(linear_model())


def test_gradients_reach_latents_and_images_but_no_weights():
    model = small().frozen()
    latent = model.sample(3).requires_grad_(True)
    image = model.decode(latent)
    (model.encode(image).square().sum() + model.criticise(image).sum() + image.sum()).backward()
    assert latent.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in model.networks.parameters())


def test_a_prior_without_bounds_has_every_latent():
    latent = 3 * linear_model().sample(2)
    assert torch.equal(linear_model().project(latent), latent)


def test_many_at_once_are_decoded_in_parts_alike():
    model = small()
    latent = model.sample(150)
    with torch.no_grad():
        parts, codes = model.decode(latent), model.encode(model.decode(latent))
    torch.testing.assert_close(parts, model.decode(latent).detach(), rtol=0, atol=1e-5)
    assert codes.shape == (150, 6)


def test_the_fingerprint_is_of_weights_and_settings():
    assert small().fingerprint == small().fingerprint != small(seed=1).fingerprint
    one = small()
    before = one.fingerprint
    with torch.no_grad():
        next(one.networks.parameters()).add_(1e-3)
    assert one.fingerprint != before


def test_a_frozen_copy_does_not_change_with_the_model():
    model = small()
    model.networks.train()
    copy = model.frozen()
    assert copy is not model and copy.frozen() is copy and model.networks.training
    assert not any(m.training for m in copy.networks.modules())
    before, shown = copy.fingerprint, copy.decode(copy.sample(2))
    with torch.no_grad():
        for parameter in model.networks.parameters():
            parameter.add_(0.1)
    assert copy.fingerprint == before != model.fingerprint
    assert torch.equal(copy.decode(copy.sample(2)), shown)
    assert all(parameter.requires_grad for parameter in model.networks.parameters())


# ------------------------------------------------------------------ saved and loaded


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model = DCGAN(SHAPE, latent_size=6, width=4, momentum=(0.4, 0.9), seed=3)
    model.save(tmp_path / "m")
    for loaded in (DCGAN.load(tmp_path / "m"), load_model(tmp_path / "m")):
        assert loaded.fingerprint == model.fingerprint and loaded.describe() == model.describe()
        assert loaded.momentum == (0.4, 0.9)
        assert torch.equal(loaded.decode(loaded.sample(3)), model.decode(model.sample(3)))
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["networks.safetensors", "settings.json"]


def test_a_run_folder_is_loaded_with_its_best_weights(tmp_path):
    model = small()
    fit(model, bright_data(32), validation=bright_data(16, seed=1), steps=3, batch_size=8, validate_every=1,
        run_dir=tmp_path / "run", precision="float32", progress=False)  # fmt: skip
    assert load_model(tmp_path / "run").fingerprint == model.fingerprint


def test_the_wrong_folder_is_refused(tmp_path):
    from obverse.models.vae import VAE

    with pytest.raises(FileNotFoundError, match=r"settings.json is missing"):
        load_model(tmp_path)
    small().save(tmp_path / "m")
    with pytest.raises(
        ValueError, match=r"holds 'gan', expected 'vae'; load it with its own class, or with obverse.load_mod"
    ):
        VAE.load(tmp_path / "m")
    (tmp_path / "m" / "settings.json").write_text('{"method": "syce"}')
    with pytest.raises(ValueError, match=r"model: expected one of gan, vae, got 'syce'; wrap a model of your own"):
        load_model(tmp_path / "m")


# ------------------------------------------------------------------ as a part


@dataclass(eq=False, kw_only=True)
class Shift(LearnedExplainer):
    """Adds a learned vector to the latent."""

    name: ClassVar[str] = "shift"
    from_samples: ClassVar[bool] = True
    model: GenerativeModel = field(kw_only=False)
    other: Classifier | None = field(kw_only=False, default=None)
    rate_: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        self.networks = nn.ModuleDict({"shift": nn.Linear(1, self.model.latent_size)})

    def players(self):
        return {"shift": torch.optim.SGD(self.networks.parameters(), self.rate_)}

    def train_step(self, batch, step):
        latent = self.model.from_normal(step.normal(torch.empty(step.rows, self.model.normal_size)))
        made = self.model.decode(latent + self.networks["shift"](torch.ones(1, 1)))
        yield "shift", {"bright": -self.classifier.logits(made)[:, 1].mean()}

    def answer(self, query):
        latent = self.model.encode(query.image)
        gap = torch.full((len(latent),), 0.3)
        return Answer(counterfactual=self.model.decode(latent + self.networks["shift"].bias), posterior_gap=gap)


def test_a_part_is_frozen_and_kept_as_its_fingerprint(classifier, images, tmp_path):
    model = small()
    explainer = Shift(classifier, model)
    assert explainer.model is not model and explainer.describe()["model"] == model.fingerprint
    assert "other" not in explainer.describe() and "model" not in explainer.describe()["hyperparameters"]
    assert explainer.model.networks in explainer._modules()
    before = model.fingerprint
    fit(explainer, None, steps=4, batch_size=8, precision="float32", progress=False)  # from samples alone
    assert explainer.model.fingerprint == model.fingerprint == before
    explainer.save(tmp_path / "e")
    loaded = Shift.load(tmp_path / "e", classifier, model)
    assert torch.equal(loaded.explain(images).counterfactual, explainer.explain(images).counterfactual)
    with pytest.raises(
        ValueError, match=r"was trained for another model \(fingerprint .*, got .*\); pass that model, or"
    ):
        Shift.load(tmp_path / "e", classifier, small(seed=1))
    with pytest.raises(ValueError, match=r"was trained for another model \(fingerprint .*, got None\)"):
        Shift.load(tmp_path / "e", classifier)
    with pytest.raises(ValueError, match=r"was trained for another other \(fingerprint None, got "):
        Shift.load(tmp_path / "e", classifier, model, classifier)


def test_a_part_for_other_images_is_refused(classifier):
    with pytest.raises(
        ValueError, match=r"model: expected images of shape \(1, 16, 16\) like the classifier's, got \(1, 28, 28"
    ):
        Shift(classifier, DCGAN((1, 28, 28), latent_size=6, width=4))


def test_the_posterior_gap_is_said(classifier, images):
    explanation = Shift(classifier, small()).explain(images)
    assert torch.equal(explanation.posterior_gap, torch.full((8,), 0.3))
    said = explanation.words(0)
    assert "shift's own picture of the image is judged otherwise: the posterior of 'dark' is off by 0.30." in said
    assert explanation.select(torch.tensor([1])).posterior_gap.shape == (1,)
