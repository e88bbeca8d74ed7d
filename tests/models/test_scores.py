"""Reconstruction error and energy distance, by hand and against a slow sum."""

import pytest
import torch

from obverse.data.base import MemoryDataset, Sample
from obverse.explanation import NotApplicable
from obverse.models.adapters import BigGAN
from obverse.models.dcgan import DCGAN
from obverse.models.scores import reconstruction, sample_distance
from tiny_core import bright_data
from tiny_models import Port, linear_model


def test_reconstruction_of_known_images():
    model = linear_model()
    own = MemoryDataset(Sample(image=model.decode(model.sample(40)).detach()), ())
    found = reconstruction(model, own)
    assert found.count == 40 and found.error < 1e-4
    foreign = bright_data(32)
    found = reconstruction(model, foreign)
    image = foreign[slice(None)].image
    errors = (image - model.decode(model.encode(image))).abs().mean((1, 2, 3))
    assert found.error == pytest.approx(float(errors.mean()), abs=1e-6)
    assert found.worst == pytest.approx(float(errors.quantile(0.95)), abs=1e-6)
    said = f"reconstruction error {found.error:.4f} (mean absolute, pixels in [0, 1]) on 32 images; one in 20"
    assert found.words().startswith(said)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(NotApplicable, match=r"encode: adapter has no encoder"):
        reconstruction(linear_model(encoder=False), bright_data(8))
    with pytest.raises(ValueError, match=r"data: expected at least one image, got none"):
        reconstruction(linear_model(), bright_data(8).subset([]))


def test_the_distance_of_samples_against_a_slow_sum():
    model, data = linear_model(), bright_data(12)
    real, made = data[slice(None)].image.flatten(1), model.decode(model.sample(12)).flatten(1)

    def mean(one, other, same):
        pairs = [(i, j) for i in range(12) for j in range(12) if not (same and i == j)]
        return sum(float((one[i] - other[j]).abs().mean()) for i, j in pairs) / len(pairs)

    expected = 2 * mean(real, made, False) - mean(real, real, True) - mean(made, made, True)
    assert sample_distance(model, data) == pytest.approx(expected, abs=1e-5)


def test_the_distance_of_samples_is_nothing_for_the_models_own_images_and_more_for_others():
    model = linear_model()
    own = MemoryDataset(Sample(image=model.decode(model.sample(400, seed=9)).detach()), ())
    assert abs(sample_distance(model, own)) < 0.001 < 0.008 < sample_distance(model, bright_data(200))


def test_a_conditional_model_is_asked_for_all_its_classes():
    model = BigGAN(Port(classes=2).eval())
    data = MemoryDataset(
        Sample(image=model.decode(torch.cat([model.sample(5, target=k, seed=2) for k in (0, 1)])).detach()), ()
    )
    assert sample_distance(model, data) < 0.1


def test_large_images_are_averaged_down():
    model = DCGAN((1, 64, 64), latent_size=4, width=2)
    image = torch.rand(6, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    data = MemoryDataset(Sample(image=image), ())
    real = torch.nn.functional.avg_pool2d(image, 2).flatten(1)
    made = torch.nn.functional.avg_pool2d(model.decode(model.sample(6)), 2).flatten(1)

    def mean(one, other, pairs):
        return sum(float((one[i] - other[j]).abs().mean().detach()) for i, j in pairs) / len(pairs)

    every = [(i, j) for i in range(6) for j in range(6)]
    apart = [(i, j) for i, j in every if i != j]
    expected = 2 * mean(real, made, every) - mean(real, real, apart) - mean(made, made, apart)
    assert sample_distance(model, data) == pytest.approx(expected, abs=1e-5)
