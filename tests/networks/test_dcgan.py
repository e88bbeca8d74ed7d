"""The DCGAN's networks: sizes, ranges, and the sphere."""

import pytest
import torch

from obverse.networks.dcgan import Generator, Pyramid, on_sphere, start_of


@pytest.mark.parametrize(("shape", "expected"), [
    ((1, 28, 28), (2, 7, 7)),
    ((1, 16, 16), (1, 8, 8)),
    ((3, 32, 32), (2, 8, 8)),
    ((1, 48, 48), (3, 6, 6)),
    ((3, 64, 64), (3, 8, 8)),
    ((3, 96, 64), (3, 12, 8)),
    ((3, 128, 128), (4, 8, 8)),
])  # fmt: skip
def test_sides_are_halved_down_to_eight_or_less(shape, expected):
    assert start_of(shape) == expected


@pytest.mark.parametrize("shape", [(1, 30, 30), (1, 8, 8), (1, 36, 36), (1, 28, 27), (1, 2, 2)])
def test_sides_that_do_not_double_up_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"image_shape: expected sides of 4 to 8 times a power of 2 .*got .*another size"
    ):
        start_of(shape)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_generator_and_pyramid_fit_each_other(shape):
    generator, encoder = Generator(shape, 5, width=8), Pyramid(shape, 5, width=8)
    latent = torch.randn(3, 5)
    image = generator(latent)
    assert image.shape == (3, *shape) and image.dtype == torch.float32
    assert image.min() >= 0 and image.max() <= 1 and image.std() > 0
    assert encoder(image).shape == (3, 5)
    assert Pyramid(shape, 1, width=8)(image).shape == (3, 1)


def test_widths_double_up_to_eight_times():
    assert [layer.out_channels for layer in Pyramid((3, 128, 128), 1, width=2).down] == [4, 8, 16, 16]
    assert [layer.in_channels for layer in Generator((3, 128, 128), 4, width=2).up] == [16, 16, 8, 4]


def test_an_image_does_not_depend_on_its_batch_mates():
    generator, encoder = Generator((1, 28, 28), 4, width=8).train(), Pyramid((1, 28, 28), 4, width=8).train()
    latent = torch.randn(4, 4)
    whole = generator(latent)
    torch.testing.assert_close(whole[1:2], generator(latent[1:2]), rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder(whole)[2:3], encoder(whole[2:3]), rtol=0, atol=1e-5)


def test_the_sphere_by_hand():
    on = on_sphere(torch.tensor([[3.0, 4.0], [0.5, 0.0]]))
    torch.testing.assert_close(on, torch.tensor([[0.6, 0.8], [1.0, 0.0]]) * 2**0.5)
    torch.testing.assert_close(on_sphere(7 * on), on)
