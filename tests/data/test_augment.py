"""Augmentation against scikit-image and hand-worked cases."""

import numpy as np
import pytest
import torch
from skimage.transform import AffineTransform, rotate, warp

from obverse.data.augment import DIGITS, NONE, Augment


def _image(height=20, width=20, count=1):
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(0))


def _uniform(**changes):
    names = ("rotation", "zoom_x", "zoom_y", "shift_x", "shift_y", "flips")
    return torch.tensor([[changes.get(name, 0.5) for name in names]])


@pytest.mark.parametrize(("height", "width"), [(20, 20), (16, 28)])
@pytest.mark.parametrize("angle", [90.0, 30.0, 7.0])
def test_rotation_equals_skimage(height, width, angle):
    image = _image(height, width)
    ours = Augment(rotation=angle)(image, _uniform(rotation=1.0))[0, 0]  # the largest angle, counter-clockwise
    expected = rotate(image[0, 0].double().numpy(), angle, order=1, mode="edge")
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_zoom_and_shift_equal_skimage():
    image = _image(16, 28)
    augment = Augment(zoom=(0.5, 1.5), shift=0.25)
    ours = augment(image, _uniform(zoom_x=0.1, zoom_y=0.8, shift_x=0.9, shift_y=0.3))[0, 0]
    zoom_x, zoom_y, right, down = 0.6, 1.3, 0.25 * 28 * 0.8, -0.25 * 16 * 0.4
    to_input = (
        AffineTransform(translation=(-13.5, -7.5))
        + AffineTransform(scale=(zoom_x, zoom_y))
        + AffineTransform(translation=(13.5 - right, 7.5 - down))
    )
    expected = warp(image[0, 0].double().numpy(), to_input, order=1, mode="edge")
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_shift_by_one_pixel_by_hand():
    image = torch.tensor([[[[0.1, 0.2, 0.3, 0.4]]]])
    moved = Augment(shift=0.25)(image, torch.tensor([[0.5, 0.5, 0.5, 1.0, 0.5, 0.5]]))
    torch.testing.assert_close(moved, torch.tensor([[[[0.1, 0.1, 0.2, 0.3]]]]))  # right; the border repeats


def test_flips_are_exact_and_independent():
    image = _image(5, 7, 4000)
    uniform = torch.rand(4000, 6, generator=torch.Generator().manual_seed(1))
    out = Augment(horizontal_flip=0.3, vertical_flip=0.5)(image, uniform)
    seen = {}
    for name, axes in {"none": [], "h": [3], "v": [2], "hv": [2, 3]}.items():
        seen[name] = (out - image.flip(axes)).abs().amax((1, 2, 3)) < 1e-5
    share = {name: float(value.float().mean()) for name, value in seen.items()}
    assert sum(share.values()) == pytest.approx(1)
    for name, expected in {"none": 0.35, "h": 0.15, "v": 0.35, "hv": 0.15}.items():
        assert share[name] == pytest.approx(expected, abs=0.03)


def test_all_off_is_the_input_itself():
    image = _image()
    assert NONE(image, torch.rand(1, 6)) is image
    assert Augment(zoom=(1, 1)).mask(image, torch.rand(1, 6)) is image


def test_below_one_magnifies():
    image = torch.zeros(1, 1, 21, 21)
    image[..., 8:13, 8:13] = 1
    larger = Augment(zoom=(0.5, 0.5))(image, _uniform())
    assert larger.sum() == pytest.approx(4 * image.sum(), rel=0.05)


def test_digits_stay_in_range_and_do_not_depend_on_batch_mates():
    image = _image(28, 28, 8)
    uniform = torch.rand(8, 6, generator=torch.Generator().manual_seed(2))
    out = DIGITS(image, uniform)
    assert out.shape == image.shape and out.min() >= 0 and out.max() <= 1
    assert not torch.equal(out, image)
    torch.testing.assert_close(DIGITS(image[3:4], uniform[3:4]), out[3:4], rtol=0, atol=1e-6)


def test_masks_follow_their_images():
    mask = torch.zeros(6, 1, 32, 32)
    mask[..., 8:20, 10:26] = 1
    uniform = torch.rand(6, 6, generator=torch.Generator().manual_seed(3))
    augment = Augment(rotation=20, zoom=(0.8, 1.2), shift=0.1, horizontal_flip=0.5, vertical_flip=0.5)
    out = augment.mask(mask, uniform)
    assert set(out.unique().tolist()) == {0.0, 1.0}
    soft = augment(mask, uniform)
    assert ((soft > 0.5).float() - out).abs().mean() < 0.03


def test_autocast_does_not_coarsen_positions():
    image, uniform = _image(64, 64, 2), torch.rand(2, 6, generator=torch.Generator().manual_seed(4))
    expected = DIGITS(image, uniform)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(DIGITS(image, uniform), expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rotation": -1}, "rotation: expected a finite number of at least 0, got -1"),
        ({"shift": float("nan")}, "shift: expected a finite number"),
        ({"zoom": (1.2, 0.8)}, "zoom: expected 0 < low <= high"),
        ({"zoom": (0, 1)}, "zoom: expected 0 < low <= high"),
        ({"vertical_flip": 1.5}, r"vertical_flip: expected a probability in \[0, 1\], got 1.5"),
    ],
)
def test_bad_settings(fields, message):
    with pytest.raises(ValueError, match=message):
        Augment(**fields)


def test_bad_uniform():
    with pytest.raises(ValueError, match=r"uniform: expected shape \(1, 6\), got \(2, 6\)"):
        DIGITS(_image(), torch.rand(2, 6))
