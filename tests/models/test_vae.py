"""The variational autoencoder: its bound against torch's distributions."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from obverse.batches import Step
from obverse.data.base import Sample
from obverse.explanation import NotApplicable
from obverse.models import load_model
from obverse.models.scores import reconstruction
from obverse.models.vae import VAE
from obverse.training import fit
from tiny_core import SHAPE, bright_data

SMALL = {"latent_size": 5, "width": 4}


def test_the_bound_is_the_evidence_bound(images):
    model = VAE(SHAPE, divergence=0.5, **SMALL)
    step = Step(index=0, total=10, seed=0, rows=8)
    ((player, losses),) = model.train_step(Sample(image=images), step)
    mean, logarithm = model.networks["encoder"](images).chunk(2, 1)
    posterior = Normal(mean, (0.5 * logarithm).exp())
    latent = mean + posterior.stddev * Step(index=0, total=10, seed=0, rows=8).normal(mean)
    made = model.networks["decoder"](latent)
    likelihood = Bernoulli(made, validate_args=False).log_prob(images).mean()
    divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean() / 256
    assert player == "model" and set(losses) == {"image", "divergence"}
    torch.testing.assert_close(losses["image"], -likelihood, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["divergence"], 0.5 * divergence, rtol=1e-4, atol=1e-6)


def test_validation_is_the_bound_at_the_mean(images):
    model, data = VAE(SHAPE, **SMALL), bright_data(20)
    mean, logarithm = model.networks["encoder"](data[slice(None)].image).chunk(2, 1)
    made = model.decode(mean)
    expected = torch.nn.functional.binary_cross_entropy(made, data[slice(None)].image)
    expected = expected + 0.5 * (mean**2 + logarithm.exp() - 1 - logarithm).sum(1).mean() / 256
    assert model.validate(data) == pytest.approx(expected.item(), rel=1e-4)
    assert torch.equal(model.encode(images), model.networks["encoder"](images)[:, :5])


def test_training_saving_and_what_it_lacks(tmp_path, images):
    model, data = VAE(SHAPE, **SMALL), bright_data(32)
    before = {k: v.clone() for k, v in model.networks.named_parameters()}
    error = reconstruction(model, data).error
    fit(model, data, validation=data, steps=20, batch_size=16, average=0, run_dir=tmp_path / "run", precision="float32",
        progress=False)  # fmt: skip
    assert not [k for k, v in model.networks.named_parameters() if torch.equal(before[k], v)]
    assert reconstruction(model, data).error < error
    assert (tmp_path / "run" / "samples" / "step_000020.png").exists()
    loaded = load_model(tmp_path / "run")
    assert type(loaded) is VAE and loaded.fingerprint == model.fingerprint
    assert model.has_encoder and not model.has_critic
    with pytest.raises(NotApplicable, match=r"criticise: vae has no critic; .* use a model that has one \(gan\)"):
        model.criticise(images)


@pytest.mark.parametrize("name", ["width", "latent_size", "learning_rate"])
def test_impossible_numbers(name):
    with pytest.raises(ValueError, match=f"{name}: expected more than 0 for vae, got 0; leave it out for the default"):
        VAE(SHAPE, **{name: 0})
