"""Generated lesions against the published recipe and scipy's blur."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from obverse.data import open
from obverse.data.lesions import blur, lesions


@pytest.mark.parametrize(("size", "sigma"), [(128, 2.5), (64, 1.25), (16, 5.0)])
def test_blur_equals_scipy_with_reflecting_border(size, sigma):
    image = torch.randn(2, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = gaussian_filter(image.numpy(), sigma=(0, sigma, sigma), mode="reflect", truncate=4.0)
    torch.testing.assert_close(blur(image, sigma), torch.from_numpy(expected), rtol=0, atol=1e-12)


def test_image_differs_from_its_twin_by_two_deviations_in_the_mask_and_nowhere_else():
    sample = lesions(split="train", size=64, count=200).sample
    difference = sample.image.int() - sample.twin.int()
    inside = sample.mask.bool()
    assert not difference[~inside].any()
    white = sample.image == 255
    assert (difference[inside & ~white] == 51).all()  # 2 deviations of 0.1 each, times 255
    assert (inside & white).sum() < 0.001 * inside.sum()


def test_half_of_each_class_and_a_healthy_image_is_its_own_twin():
    data = lesions(split="validation", size=32, count=51)
    assert torch.bincount(data.labels()).tolist() == [26, 25]
    healthy = data.sample.select(data.labels() == 0)
    assert torch.equal(healthy.image, healthy.twin) and not healthy.mask.any()
    diseased = data.sample.select(data.labels() == 1)
    assert (diseased.mask.flatten(1).sum(1) > 0).all()
    assert data.fields == {"image", "label", "mask", "twin"}
    assert data.classes == ("healthy", "diseased")


def test_disc_at_the_published_size_is_that_of_the_published_code():
    sample = lesions(split="test", size=128, count=400).sample
    mask = sample.mask[sample.label == 1, 0].float()
    assert (mask.flatten(1).sum(1) == 193).all()  # strict d^2 < 64
    pixel = torch.arange(128.0)
    centre = torch.stack([(mask.sum(2) * pixel).sum(1), (mask.sum(1) * pixel).sum(1)], dim=1) / 193
    assert torch.allclose(centre, centre.round(), atol=1e-4)
    offset = centre - torch.where(centre < 64, 24, 104)
    assert offset.min().round() == -5 and offset.max().round() == 5
    first = (centre < 64).all(1)
    assert ((centre < 64).any(1) == first).all() and 0.4 < first.float().mean() < 0.6


def test_noise_has_the_fixed_scale():
    image = lesions(split="train", size=64, count=100)[slice(0, 100)].twin
    own = image.std(dim=(1, 2, 3), correction=0)
    torch.testing.assert_close(own, torch.full((100,), 0.1), rtol=0.01, atol=0)  # one deviation of ten
    assert abs(float(image.mean()) - 0.4) < 0.005
    assert ((image == 0) | (image == 1)).float().mean() < 5e-4


def test_half_the_size_is_the_same_picture():
    area = {size: lesions(split="test", size=size, count=100).sample.mask.float().mean() for size in (64, 128)}
    assert area[64] == pytest.approx(area[128], rel=0.1)
    twin = {size: lesions(split="test", size=size, count=100)[slice(0, 100)].twin - 0.4 for size in (64, 128)}
    step = {size: (twin[size][..., :-k, :] * twin[size][..., k:, :]).mean() for size, k in ((64, 2), (128, 4))}
    assert step[64] == pytest.approx(step[128], rel=0.05)  # correlation at the same distance in the picture


def test_published_scales_each_image_by_itself():
    sample = lesions("published", split="test", size=64, count=20).sample
    for image in (sample.image, sample.twin):
        assert (image.amin((1, 2, 3)) == 0).all() and (image.amax((1, 2, 3)) == 255).all()
    diseased = sample.select(sample.label == 1)
    inside = diseased.mask.bool()
    assert diseased.image[inside].float().mean() > 180 > 120 > diseased.image[~inside].float().mean()


def test_squares_are_two_of_400_pixels_one_in_the_centre():
    sample = lesions("squares", split="test", size=112, count=100).sample
    mask = sample.mask[sample.label == 1, 0]
    assert (mask.flatten(1).sum(1) == 800).all()
    assert mask[:, 46:66, 46:66].all() and not mask[:, 45, 45:66].any()
    rows = [torch.nonzero(one.sum(1) * (one[:, 46:66].sum(1) == 0))[0].item() for one in mask]
    low = [row - (56 - 32 - 10) for row in rows if row < 56]
    high = [row - (56 + 32 - 10) for row in rows if row > 56]
    assert {min(low), min(high)} == {-5} and {max(low), max(high)} == {4}


def test_splits_and_seeds_differ_and_repeat():
    def make(split, seed):
        return lesions(split=split, size=16, count=8, seed=seed).sample.image

    assert torch.equal(make("train", 0), make("train", 0))
    images = [make(split, seed) for split in ("train", "validation", "test") for seed in (0, 1)]
    assert not any(torch.equal(a, b) for i, a in enumerate(images) for b in images[:i])


def test_random_state_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    lesions(split="train", size=16, count=4)
    assert torch.equal(torch.rand(1), expected)


def test_names_and_notes():
    data = open("lesions:squares", split="test", size=32, count=4)
    assert data.name == "lesions:squares" and data.split == "test" and "own minimum" in data.notes[0]
    assert open("lesions", split="validation", size=16).name == "lesions"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "round"}, "variant: expected 'published', 'squares' or none, got 'round'"),
        ({"split": "dev"}, "split: expected train, validation or test, got 'dev'"),
        ({"count": 1}, "count: expected at least 2"),
        ({"size": 8}, "size: expected at least 16 pixels, got 8"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        lesions(**{"split": "train", **arguments})
