"""A model's change laid into the image, pixel by pixel."""

import pytest
import torch
from torch.nn import functional as F

from obverse.latent.pixels import changed


def slowly(image, start, made, fully):
    """Loops over one image after another."""
    result = image.clone()
    count, channels, height, width = image.shape
    for n in range(count):
        apart = [[max(abs(float(made[n, c, y, x] - start[n, c, y, x])) for c in range(channels)) for x in range(width)]
                 for y in range(height)]  # fmt: skip
        for y in range(height):
            for x in range(width):
                near = [apart[j][i] for j in range(max(0, y - 1), min(height, y + 2))
                        for i in range(max(0, x - 1), min(width, x + 2))]  # fmt: skip
                share = min(1.0, sum(near) / len(near) / fully)
                result[n, :, y, x] = (1 - share) * image[n, :, y, x] + share * made[n, :, y, x]
    return result


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(2, 3, 6, 5, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("fully", [0.2, 0.6])
def test_each_pixel_is_the_images_and_the_models_in_its_share(pictures, fully):
    torch.testing.assert_close(changed(*pictures, fully), slowly(*pictures, fully))


def test_nothing_moved_leaves_the_image_and_all_moved_the_models_picture(pictures):
    image, start, made = pictures
    assert torch.equal(changed(image, start, start, 0.1), image)
    torch.testing.assert_close(changed(image, made + 0.2, made, 0.1), made)
    assert changed(image, start, made, 0) is made


def test_the_gradient_knows_that_pixels_are_given_up(pictures):
    image, start, made = pictures
    made = made.requires_grad_()
    changed(image, start, made, 5.0).sum().backward()
    apart = (made.detach() - start).abs().amax(1, keepdim=True)
    share = F.avg_pool2d(apart, 3, stride=1, padding=1, count_include_pad=False) / 5.0
    assert (made.grad - share).abs().amax() > 0.01  # a share that stood still would be all of the gradient
