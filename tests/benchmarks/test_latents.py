"""What is measured of medXGAN's latents, on a small one with random weights."""

import dataclasses
import functools

import pytest
import torch

from benchmarks import latents
from obverse.data.base import MemoryDataset
from obverse.methods.medxgan import MedXGAN
from obverse.metrics.judges import JudgeSettings
from test_contract import MEDXGAN, SHAPE, pooled_classifier, pooled_data


@pytest.fixture(scope="module")
def explainer():
    return MedXGAN(pooled_classifier(), absent="dark", **MEDXGAN)


def test_the_map_adds_up_to_the_difference_of_the_posteriors(explainer, monkeypatch):
    def decode(latent):  # the brighter the longer z2
        grey = (2 * latent[:, explainer.anatomy :].square().sum(1) - 2).sigmoid()
        return grey[:, None, None, None].expand(-1, *SHAPE)

    monkeypatch.setattr(explainer.model, "decode", decode)
    found = latents.summed(explainer, pooled_data()[torch.arange(12, 16)])
    rise, off = found["difference of the posteriors"], found["sum of the map, off by"]
    assert rise["n"] == off["n"] == 4 and rise["value"] > 0.5 and off["value"] <= 0.02 * rise["value"]


def test_repeated_searches_are_held_to_a_limit_of_searches_alike(explainer):
    limit = latents.searched_limit(explainer, pooled_data(), 6)
    rows = torch.linspace(0, 11, 6).long() + 12  # those that are decided present
    image = pooled_data()[rows].image
    alike = [explainer.invert(image, start="normal", restarts=1, seed=seed).residual for seed in range(latents.RESTARTS)]
    assert limit == pytest.approx(float(torch.stack(alike).min(0).values.quantile(0.9)))
    found = latents.repeated(explainer, pooled_data()[rows], limit)
    assert found["well represented"]["value"] == pytest.approx(5 / 6, abs=1e-3)  # 9 in 10 of six
    assert found["images"] == 6 and found["limit of the residual"] == limit
    assert found["all images"]["SSIM"]["n"] == 6 and found["well represented"]["n"] == 6
    none = latents.repeated(explainer, pooled_data()[rows], 0.0)
    assert none["well represented"]["value"] == 0 and none["well represented images"]["SSIM"] == {"value": None, "n": 0}


def test_images_decided_present_are_taken_evenly_with_their_groups():
    plain = pooled_data()
    data = MemoryDataset(dataclasses.replace(plain[:], group=torch.arange(24) // 2), plain.classes)
    found = latents.decided_present(pooled_classifier(), data, 4)
    rows = torch.linspace(0, 11, 4).long() + 12  # the bright half
    assert torch.equal(found.image, plain[rows].image) and torch.equal(found.group, rows // 2)
    assert len(latents.decided_present(pooled_classifier(), data, 99)) == 12


def test_slices_of_one_head_count_as_one():
    values = torch.tensor([0.0, 0, 0, 1, 1, 1])
    alone, together = latents.mean(values), latents.mean(values, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert alone["value"] == together["value"] == 0.5 and together["high"] - together["low"] > alone["high"] - alone["low"]
    assert latents.share(values, torch.zeros(6))["low"] is None  # one group has no interval


def test_walks_rise_from_absent_to_present_or_are_counted(explainer, monkeypatch):
    sample = pooled_data()[torch.arange(12, 16)]

    def path(image, target, frames):
        grey = torch.linspace(0.9, 0.1, frames).expand(len(image), -1).clone()
        grey[0, 0] = 0.3  # its own realisation is decided dark: a fall, and not positive
        grey[1] = 0.9  # never becomes negative
        return grey[:, :, None, None, None].expand(-1, -1, *image.shape[1:])

    monkeypatch.setattr(explainer, "path", path)
    found = latents.walks(explainer, sample)
    assert found["series that rise"]["value"] == 0.75 and found["own realisations decided positive"]["value"] == 0.75
    assert found["negative realisations that are not"] == 1
    assert found["negative realisations decided negative"]["value"] == 0.75
    assert len(found["mean posterior along the walk"]) == 11


def test_samples_are_judged_by_the_classifier_and_beside_real_images(explainer, monkeypatch, tmp_path):
    monkeypatch.setenv("OBVERSE_BENCHMARKS", str(tmp_path))
    monkeypatch.setattr(latents, "JudgeSettings", functools.partial(JudgeSettings, steps=2))
    grey = torch.tensor([0.1, 0.9])  # what the classifier calls dark and bright

    def decode(latent):
        present = latent[:, explainer.anatomy :].ne(0).any(1).long()
        return (grey[present][:, None, None, None] + 0.01 * latent[:, :1, None, None].tanh()).expand(-1, *SHAPE)

    monkeypatch.setattr(explainer.model, "decode", decode)
    splits = dict.fromkeys(("train", "validation", "test"), pooled_data())
    found = latents.samples(explainer, splits, 8)
    assert found["decided dark as asked"]["value"] == found["decided bright as asked"]["value"] == 1
    assert found["decided bright as asked"]["n"] == 24 and found["balanced accuracy"] == found["AUC"] == 1
    assert found["accuracy on real test images"]["value"] == 1
    distances = found["kernel distance, embedding"]
    assert set(distances) == {"dark", "bright", "between the real classes"}
    assert all(torch.isfinite(torch.tensor(value)) for value in distances.values())


def test_maps_are_compared_by_curves_over_equal_areas(explainer):
    found = latents.maps(explainer, pooled_data(), pooled_classifier(), 3)
    assert set(found) == {"difference", "LIG", "LIG as printed", "integrated gradients",
                          "integrated gradients of the posterior", "Grad-CAM"}  # fmt: skip
    for one in found.values():
        assert len(one["curves"]["deletion"][1]) == 21 and one["curves"]["deletion"][1][0] > 0.5  # nothing deleted yet
    deletion, area = latents.curves(found).axes
    assert [line.get_label() for line in deletion.lines] == [*found, "pixels at random"] and len(area.lines) == 6
