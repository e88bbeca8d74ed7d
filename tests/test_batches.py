"""Images drawn by weight: how often, with which seed, and in parts by several processes."""

import pytest
import torch

from obverse.batches import Batches, Step
from tiny_core import Toy, bright_data

CPU = torch.device("cpu")


def test_a_falling_rate_by_hand():
    # 10 steps, of which the last 4 fall: 6 -> 1, 7 -> 0.1 + 0.9 * 3/4, 8 -> 2/4, 9 -> 1/4
    found = [Step(index, 10, 0, 2).falling(0.4) for index in range(10)]
    assert found == pytest.approx([1.0] * 7 + [0.775, 0.55, 0.325])
    assert [Step(index, 10, 0, 2).falling(0.0) for index in (0, 8)] == [1.0, 1.0]
    assert Step(7, 8, 0, 2).falling(0.5, to=0.02) == pytest.approx(0.02 + 0.98 / 4)


class Weighted(Toy):
    """Draws by the weights given; its groups must not be asked for."""

    def __init__(self, weights) -> None:
        super().__init__()
        self.given = torch.as_tensor(weights)

    def weights(self, data):
        return self.given

    def groups(self, data):
        raise AssertionError("groups, although there are weights")


def rows_of(batches, data, index) -> list[int]:
    """Which rows a batch holds, from its images."""
    image = batches(index).image.flatten(1)
    return torch.cdist(image, data[slice(None)].image.flatten(1)).argmin(1).tolist()


def test_images_come_as_often_as_their_weights_say():
    data = bright_data(4)
    batches = Batches(Weighted([1.0, 0.0, 2.0, 5.0]), data, 8, 0, 0, 1, CPU)
    assert (batches.blocks, batches.rows) == (1, 8)
    rows = [row for index in range(500) for row in rows_of(batches, data, index)]
    drawn = torch.bincount(torch.tensor(rows), minlength=4)
    assert drawn.sum() == 4000 and drawn[1] == 0
    expected = torch.tensor([0.125, 0.25, 0.625])
    # within four standard deviations of a multinomial draw
    assert ((drawn[[0, 2, 3]] / 4000 - expected).abs() < 4 * (expected * (1 - expected) / 4000).sqrt()).all()


def test_draws_depend_on_seed_and_step_only_and_differ_from_the_noise():
    data = bright_data(32)

    def drawn(seed, index):
        return rows_of(Batches(Weighted(torch.ones(32)), data, 16, seed, 0, 1, CPU), data, index)

    assert drawn(1, 5) == drawn(1, 5)
    assert len({tuple(drawn(seed, index)) for seed in range(2) for index in range(3)}) == 6
    noise = torch.rand(16, generator=torch.Generator().manual_seed(1_000_003 + 5))  # what Step draws first
    assert drawn(1, 5) != (noise * 32).long().tolist()


def test_two_processes_share_the_draws_of_one():
    data = bright_data(16)
    whole = rows_of(Batches(Weighted(torch.arange(16)), data, 8, 3, 0, 1, CPU), data, 2)
    parts = [rows_of(Batches(Weighted(torch.arange(16)), data, 8, 3, rank, 2, CPU), data, 2) for rank in range(2)]
    assert parts[0] + parts[1] == whole


@pytest.mark.parametrize("weights", [[1.0, -1.0, 1.0, 1.0], [0.0] * 4, [1.0, float("nan"), 1.0, 1.0], [1.0] * 3,
                                     [float("inf"), 1.0, 1.0, 1.0]])  # fmt: skip
def test_impossible_weights(weights):
    said = r"weights: expected 4 finite numbers of at least 0, not all 0, got \(\d,\) from Weighted.weights"
    with pytest.raises(ValueError, match=said):
        Batches(Weighted(weights), bright_data(4), 2, 0, 0, 1, CPU)
