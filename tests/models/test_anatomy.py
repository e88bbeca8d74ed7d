"""medXGAN's latent space: which numbers may differ from 0, what shares an anatomy, and samples at the boundary."""

import pytest
import torch
from torch import nn

from obverse.classifier import Classifier
from obverse.explanation import NotApplicable
from obverse.models.anatomy import AnatomyModel
from obverse.networks.dcgan import Generator, Pyramid
from tiny_core import SHAPE, bright_classifier


class Slope(nn.Module):
    """An image whose brightness is 0.4 + 0.1 (sum of z2), so that the boundary at 0.5 is where z2 sums to 1."""

    def __init__(self, size: int, anatomy: int) -> None:
        super().__init__()
        self.dense, self.anatomy = nn.Linear(size, 4), anatomy

    def forward(self, latent):
        level = 0.4 + 0.1 * latent[:, self.anatomy :].sum(1)
        return level.clamp(0, 1).view(-1, 1, 1, 1).expand(-1, *SHAPE)


def model(classes=("dark", "bright"), absent=0, encoder=False, anatomy=5, pathology=2, generator=None):
    size = anatomy + pathology * (len(classes) - (absent is not None))
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, len(classes)))
    classifier = Classifier(module, classes, SHAPE, device="cpu") if len(classes) > 2 else bright_classifier()
    networks = {
        "generator": generator or Generator(SHAPE, size, width=2),
        "critic": Pyramid(SHAPE, 1, width=2, norm=False),
    }
    if encoder:
        networks["encoder"] = Pyramid(SHAPE, size, width=2, norm=True)
    return AnatomyModel(nn.ModuleDict(networks), classifier, anatomy=anatomy, pathology=pathology, absent=absent)


def test_the_absent_class_has_no_z2_and_the_others_a_block_each():
    three = model(("a", "b", "c"), absent=1)
    assert three.latent_size == 9 and three.normal_size == 7 and three.anatomy == slice(0, 5)
    assert three.blocks == [slice(5, 7), None, slice(7, 9)]
    normal = torch.arange(1.0, 8).expand(3, -1)
    latent = three.from_normal(normal, torch.arange(3))
    assert latent.tolist() == [[1, 2, 3, 4, 5, 6, 7, 0, 0], [1, 2, 3, 4, 5, 0, 0, 0, 0], [1, 2, 3, 4, 5, 0, 0, 6, 7]]
    assert torch.equal(three.allowed(torch.arange(3)), (latent != 0).float())
    every = model(("a", "b", "c"), absent=None)
    assert every.latent_size == 11 and None not in every.blocks and every.absent is None


def test_z2_of_0_gives_one_image_for_each_z1():
    two = model()
    z1, first, second = torch.randn(3, 5), torch.randn(3, 2), torch.randn(3, 2)
    absent, present = torch.zeros(3).long(), torch.ones(3).long()
    latent = torch.cat([z1, torch.randn(3, 2)], 1)
    without = two.decode(two.realise(latent, absent, first))
    assert torch.equal(without, two.decode(two.realise(latent, absent, second)))
    assert torch.equal(without, two.decode(torch.cat([z1, torch.zeros(3, 2)], 1)))
    one, other = (two.decode(two.realise(latent, present, z2)) for z2 in (first, second))
    assert torch.equal(one, two.decode(torch.cat([z1, first], 1)))
    assert (one - other).abs().flatten(1).amax(1).min() > 1e-4 and (one - without).abs().max() > 1e-4


def test_samples_are_the_prior_of_a_class_and_depend_on_the_seed():
    two = model(pathology=40, anatomy=60)
    present, absent = two.sample(500, target=1, seed=3), two.sample(500, target=0, seed=3)
    assert torch.equal(present[:, :60], absent[:, :60]) and not absent[:, 60:].any()
    assert present.mean().item() == pytest.approx(0, abs=0.02) and present.std().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(present, two.sample(500, target=1, seed=3))
    for ask in (lambda: two.sample(1), lambda: two.from_normal(torch.zeros(1, 100))):
        with pytest.raises(ValueError, match="target: anatomy needs one of its 2 classes, got None; pass an index"):
            ask()


def test_what_the_encoder_says_of_other_classes_is_left_out():
    two = model(encoder=True)
    dark, bright = torch.full((1, *SHAPE), 0.1), torch.full((1, *SHAPE), 0.9)
    found, raw = two.encode(torch.cat([dark, bright])), two.modules()[0]["encoder"](torch.cat([dark, bright]))
    assert torch.equal(found[0, :5], raw[0, :5]) and not found[0, 5:].any()
    assert torch.equal(found[1], raw[1])
    other = two.encode_as(torch.cat([dark, bright]), torch.tensor([1, 0]))
    assert torch.equal(other[0], raw[0]) and torch.equal(other[1, :5], raw[1, :5]) and not other[1, 5:].any()
    assert two.has_encoder and two.has_critic and two.criticise(bright).shape == (1,)
    with pytest.raises(NotApplicable, match="encode: anatomy has no encoder; find latents with the invert"):
        model().encode(dark)
    with pytest.raises(NotApplicable, match="encode: anatomy has no encoder; find latents with the invert"):
        model().encode_as(dark, torch.tensor([0]))


def test_the_first_layer_is_the_dense_one_without_its_constant():
    two, latent = model(), torch.randn(4, 7)
    dense = two.modules()[0]["generator"].dense
    torch.testing.assert_close(two.first_layer(latent) + dense.bias, dense(latent))
    assert not two.first_layer(torch.zeros(1, 7)).any()


def test_a_grid_has_one_anatomy_a_column_and_one_pathology_a_row():
    seen: list[torch.Tensor] = []

    class Watched(Slope):
        def forward(self, latent):
            seen.append(latent)
            return super().forward(latent)

    grid = model(generator=Watched(7, 5)).grid(4, realisations=3, seed=2)
    latent = torch.stack(seen)
    assert grid.shape == (4, 4, *SHAPE) and latent.shape == (4, 4, 7)
    assert (latent[..., :5] == latent[:1, :, :5]).all()  # a column has one z1
    assert not latent[0, :, 5:].any() and (latent[1:, :, 5:] == latent[1:, :1, 5:]).all()  # a row one z2
    assert len({tuple(row.tolist()) for row in latent[:, 0, 5:]}) == 4


def test_samples_near_the_boundary_lie_on_it():
    two = model(generator=Slope(9, 5), pathology=4)
    image = two.near_boundary(6, of="bright", seed=1)
    assert image.shape == (6, *SHAPE) and bool((two._classifier.decide(image) == 1).all())
    # the last halving leaves a thousandth of a walk, which is some 0.3 of brightness long
    assert (image.mean((1, 2, 3)) - 0.5).abs().max() < 1e-3
    assert (two._classifier.posterior(image)[:, 1] - 0.5).abs().max() < 0.01


def test_a_boundary_needs_a_class_to_start_from_and_walks_that_cross():
    with pytest.raises(ValueError, match=r"against: every class has a z2 here, got None; name the class"):
        model(("a", "b", "c"), absent=None).near_boundary(2, of="a")
    still = model(generator=Slope(9, 9), pathology=4)  # of an image that z2 does not change
    with pytest.raises(ValueError, match=r"near_boundary: 0 of 8 walks end decided 'bright'.*expected 2"):
        still.near_boundary(2, of="bright")
    two, said = model(generator=Slope(9, 5), pathology=4), "of, against: expected two different classes, got 'dark' and 'dark'"
    for against in (None, "dark", 0):
        with pytest.raises(ValueError, match=f"{said}; name another class in against"):
            two.near_boundary(2, of="dark", against=against)
    assert two.near_boundary(2, of="dark", against="bright").shape == (2, *SHAPE)
