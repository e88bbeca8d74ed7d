"""Walks against steps taken by hand."""

import pytest
import torch

from obverse.networks.walk import Walk, along, to_norm, walked


def by_hand(walk, latent, steps, residual):
    """Each row for itself, number by number."""
    first, _, last = walk.layers
    places = [latent.clone()]
    for _ in range(steps):
        rows = []
        for start, row in zip(latent, places[-1], strict=True):
            hidden = [max(0.0, float(w @ row + b)) for w, b in zip(first.weight, first.bias, strict=True)]
            moved = torch.stack([w @ torch.tensor(hidden) + b for w, b in zip(last.weight, last.bias, strict=True)])
            if residual:
                moved = row + moved
                moved = moved * (start.square().sum().sqrt() / moved.square().sum().sqrt())
            rows.append(moved)
        places.append(torch.stack(rows))
    return torch.stack(places, 1)


@pytest.mark.parametrize("step", ["residual", "plain"])
def test_a_walk_is_the_same_layers_again_and_again(step):
    walk = Walk(5, steps=3, step=step, hidden=7)
    walk.layers[-1].reset_parameters()
    latent = torch.randn(4, 5) * torch.tensor([0.1, 1.0, 3.0, 10.0])[:, None]
    with torch.no_grad():
        path, end = walk.path(latent), walk(latent)
        expected = by_hand(walk, latent, 3, step == "residual")
    torch.testing.assert_close(path, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(path[:, -1], end) and torch.equal(path[:, 0], latent)
    same = torch.allclose(path.norm(dim=2), latent.norm(dim=1)[:, None].expand(-1, 4), rtol=1e-5)
    assert same == (step == "residual")


def test_a_residual_walk_starts_by_standing_nearly_still():
    latent = torch.randn(3, 4)
    moved = Walk(4, steps=2)(latent) - latent
    assert 0 < moved.abs().max() < 0.01  # at 0 no distance between start and end would have a slope
    assert Walk(4).layers[0].out_features == 4
    assert not torch.allclose(Walk(4, step="plain")(latent), latent)


def test_a_latent_of_zeros_stays_without_nan():
    walk = Walk(3)
    walk.layers[-1].reset_parameters()
    latent = torch.zeros(2, 3, requires_grad=True)
    end = walk(latent)
    assert torch.equal(end, torch.zeros(2, 3))
    found = torch.autograd.grad(end.sum(), [latent, walk.layers[0].weight])
    assert all(torch.isfinite(gradient).all() for gradient in found)


def test_to_norm():
    scaled = to_norm(torch.tensor([[3.0, 4.0], [0.0, 0.5]]), torch.tensor([[10.0], [2.0]]))
    torch.testing.assert_close(scaled, torch.tensor([[6.0, 8.0], [0.0, 2.0]]))


def test_each_row_takes_its_own_walk_and_rows_without_one_stay():
    torch.manual_seed(0)
    walks = [Walk(4, steps=2, step="plain"), Walk(4, steps=2, step="plain")]
    latent, way = torch.randn(5, 4), torch.tensor([1, -1, 0, 1, -1])
    places = walked(walks, way, latent)
    assert places.shape == (5, 3, 4)
    for row, index in enumerate(way.tolist()):
        expected = latent[row].expand(3, -1) if index < 0 else walks[index].path(latent[row : row + 1])[0]
        torch.testing.assert_close(places[row], expected)


def test_along_the_places_at_equal_distances():
    places = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]])
    plain = along(places, 5, keep_norm=False)[0]
    torch.testing.assert_close(plain, torch.tensor([[1.0, 0], [0.5, 0.5], [0, 1], [0, 2], [0, 3]]))
    torch.testing.assert_close(along(places, 5, keep_norm=True)[0].norm(dim=1), torch.ones(5))
