from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import jensenshannon
from sklearn.decomposition import PCA

from obverse.explanation import NotApplicable
from obverse.metrics.distances import Plane, frechet, jensen_shannon, kernel_distance


def sets(n=80, m=90, d=5, shift=0.7):
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=generator)
    return torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator) @ mix + shift


@pytest.mark.parametrize("n", [80, 4])  # with 4 rows of 5 features the covariance is singular
def test_frechet_equals_the_matrix_root(n):
    a, b = sets(n)
    one, two = np.cov(a.double().numpy().T), np.cov(b.double().numpy().T)
    root = np.real(sqrtm(one @ two + (1e-10 * np.eye(5) if n == 4 else 0)))
    expected = float((a.double().mean(0) - b.double().mean(0)).square().sum()) + np.trace(one + two - 2 * root)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-4)


def test_frechet_by_hand_and_its_properties():
    a = torch.tensor([[0.0], [2.0]])  # mean 1, variance 2
    b = torch.tensor([[3.0], [11.0]])  # mean 7, variance 32
    assert frechet(a, b) == pytest.approx(36 + 2 + 32 - 2 * 8)
    a, b = sets()
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a))
    assert frechet(torch.ones(5, 3), torch.ones(4, 3)) == 0.0
    with pytest.raises(NotApplicable, match="features: a Frechet distance needs at least 2 rows a set, got 1 and 90"):
        frechet(a[:1], b)


def test_kernel_distance_equals_torchmetrics_and_the_loop():
    a, b = sets(30, 30)
    k = [(x @ y.T / 5 + 1) ** 3 for x, y in ((a, a), (a, b), (b, b))]
    assert kernel_distance(a, b) == pytest.approx(float(poly_mmd_of(*k)), rel=1e-3)
    a, b = sets(6, 4, 2)
    total = 0.0
    for first, other, sign in ((a, a, 1), (b, b, 1), (a, b, -2)):
        values = [float((x.double() @ y.double() / 2 + 1) ** 3) for i, x in enumerate(first)
                  for j, y in enumerate(other) if first is not other or i != j]  # fmt: skip
        total += sign * sum(values) / len(values)
    assert kernel_distance(a, b) == pytest.approx(total, rel=1e-6)
    with pytest.raises(NotApplicable, match="features: a kernel distance needs at least 2 rows"):
        kernel_distance(a[:1], b)


def poly_mmd_of(aa, ab, bb):
    from torchmetrics.image.kid import maximum_mean_discrepancy

    return maximum_mean_discrepancy(aa, ab, bb)


def test_the_plane_equals_scikit_learn():
    real = sets()[1]
    plane, expected = Plane.of(real), PCA(2).fit(real.double().numpy())
    assert plane.shares == pytest.approx(tuple(expected.explained_variance_ratio_), rel=1e-6)
    ours, theirs = plane.project(real).abs(), np.abs(expected.transform(real.double().numpy()))
    assert np.allclose(ours.numpy(), theirs, atol=1e-8)  # the sign of a component is free


def test_jensen_shannon_equals_scipy():
    a, b = sets()
    plane = Plane.of(b)
    expected = jensenshannon(plane.density(a), plane.density(b), base=2)
    assert jensen_shannon(a, b, plane) == pytest.approx(expected, abs=1e-6)
    assert jensen_shannon(b, b, plane) == 0.0
    far = jensen_shannon(b + 100, b, plane)  # nothing of it on the grid: a uniform density
    assert 0.5 < far <= 1.0


def test_points_without_a_density_are_named():
    with pytest.raises(
        NotApplicable, match="reference: two principal components need at least 3 different rows of 2, got"
    ):
        Plane.of(torch.ones(10, 4))
    plane = Plane.of(sets()[0])
    with pytest.raises(NotApplicable, match="features: no density in the plane of 20 answers"):
        plane.density(torch.ones(20, 5))


def test_densities_that_underflow_give_a_number():
    p, q = np.array([0.5, 0.5, 5e-324, 0.0]), np.array([0.25, 0.75, 0.0, 5e-324])
    found = jensen_shannon(p, q, SimpleNamespace(density=lambda values: values))
    assert found == pytest.approx(jensenshannon([0.5, 0.5], [0.25, 0.75], base=2), rel=1e-9)


def test_large_sets_are_taken_in_parts():
    a, b = sets(1100, 700)
    k = [(x.double() @ y.double().T / 5 + 1) ** 3 for x, y in ((a, a), (a, b), (b, b))]
    n, m = len(a), len(b)
    expected = (k[0].sum() - k[0].trace()) / (n * (n - 1)) + (k[2].sum() - k[2].trace()) / (m * (m - 1)) - 2 * k[1].mean()
    assert kernel_distance(a, b) == pytest.approx(float(expected), rel=1e-9)
