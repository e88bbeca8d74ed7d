"""What is measured of medXGAN's latents, on a small one with random weights."""

import pytest
import torch

from benchmarks import latents
from obverse.methods.medxgan import MedXGAN
from test_contract import MEDXGAN, pooled_classifier, pooled_data


@pytest.fixture(scope="module")
def explainer():
    return MedXGAN(pooled_classifier(), absent="dark", **MEDXGAN)


def test_the_map_adds_up_to_the_difference_of_the_posteriors(explainer):
    found = latents.summed(explainer, pooled_data()[torch.arange(12, 16)].image)
    rise, off = found["difference of the posteriors"], found["sum of the map, off by"]
    assert rise["n"] == off["n"] == 4 and off["value"] <= 0.02 * max(abs(rise["value"]), 0.1)


def test_repeated_searches_are_held_to_a_limit_of_searches_alike(explainer):
    limit = latents.searched_limit(explainer, pooled_data(), 6)
    rows = torch.linspace(0, 23, 6).long()
    alike = explainer.invert(pooled_data()[rows].image, start="normal", restarts=latents.RESTARTS, seed=1)
    assert limit == pytest.approx(float(alike.residual.quantile(0.9)))
    found = latents.repeated(explainer, pooled_data()[rows].image, limit)
    assert found["images"] == 6 and found["limit of the residual"] == limit
    assert found["all images"]["SSIM"]["n"] == 6 and found["well represented"]["n"] == 6
    none = latents.repeated(explainer, pooled_data()[rows].image, 0.0)
    assert none["well represented"]["value"] == 0 and none["well represented images"]["SSIM"] == {"value": None, "n": 0}
