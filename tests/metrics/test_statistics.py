import numpy as np
import pytest
import torch
from scipy.stats import binomtest, bootstrap
from torch import Tensor

from obverse.explanation import NotApplicable
from obverse.metrics.statistics import interval, interval_of, paired_interval


def normal(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_interval_agrees_with_scipy():
    values = normal(200) + 3
    expected = bootstrap((values.numpy(),), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    low, high = interval(values, resamples=4000)
    assert low == pytest.approx(expected.low, abs=0.02)
    assert high == pytest.approx(expected.high, abs=0.02)


def test_interval_is_seeded():
    values = normal(50)
    assert interval(values, seed=3) == interval(values, seed=3)
    assert interval(values, seed=3) != interval(values, seed=4)


def test_groups_are_drawn_whole():
    values = normal(20).repeat_interleave(10)  # ten equal images a patient: as much is known as from 20 images
    group = torch.arange(20).repeat_interleave(10)
    low, high = interval(values, group)
    alone_low, alone_high = interval(normal(20))
    assert (high - low) == pytest.approx(alone_high - alone_low, rel=0.1)
    naive_low, naive_high = interval(values)
    assert (high - low) > 2.5 * (naive_high - naive_low)


def test_group_means_are_weighted_by_size():
    values, group = torch.tensor([0.0, 1.0, 1.0, 1.0]), torch.tensor([7, 9, 9, 9])
    low, high = interval(values, group)
    assert (low, high) == (0.0, 1.0)  # two groups: drawn are 0, 1, or 3/4


def test_a_share_of_all_or_none_gets_the_exact_binomial_bound():
    for value, count in ((1.0, 24), (0.0, 5)):
        expected = binomtest(int(value * count), count).proportion_ci(method="exact")
        assert interval(torch.full((count,), value), share=True) == pytest.approx((expected.low, expected.high))
    low = interval(torch.ones(40), torch.arange(40) // 10, share=True)[0]
    assert low == pytest.approx(binomtest(4, 4).proportion_ci(method="exact").low)


def test_one_image_has_no_interval():
    assert interval(torch.tensor([0.5])) is None
    assert interval(torch.tensor([0.5, 0.2]), torch.tensor([1, 1])) is None
    assert interval_of(lambda rows: float(len(rows)), 1) is None


def test_interval_of_any_statistic():
    values = normal(300)
    low, high = interval_of(lambda rows: float(values[rows].mean()), 300, resamples=500)
    expected = interval(values)
    assert (low, high) == pytest.approx(expected, abs=0.02)
    low, high = interval_of(lambda rows: float(len(rows)), 6, torch.tensor([0, 0, 0, 0, 0, 1]))
    assert high - low == pytest.approx(8)  # two groups of 5 and 1: drawn are 2, 6 or 10 rows


def test_intervals_of_distances_lie_around_the_figure():
    values = normal(60)[:, None]

    def spread(rows: Tensor) -> float:  # repeats make it smaller, as they make a distance between sets larger
        return float(values[rows].unique(dim=0).shape[0])

    low, high = interval_of(spread, 60)
    assert low < spread(torch.arange(60)) < high


def test_paired_difference():
    first, second = normal(100), normal(100) + 0.5
    gap, bounds = paired_interval(first, second)
    assert gap == pytest.approx(-0.5) and bounds == (gap, gap)
    assert paired_interval(first[:5], second[:5]) == (pytest.approx(-0.5), None)  # five alike could be chance
    gap, (low, high) = paired_interval(first, normal(100, seed=1))
    assert low < gap < high
    with pytest.raises(ValueError, match="second: expected shape"):
        paired_interval(first, second[:3])


def test_draws_without_a_figure_are_left_out_and_too_many_leave_no_interval():
    def often(share):
        calls = iter(range(1000))

        def statistic(rows: Tensor) -> float:
            number = next(calls)
            if number < share * 100:
                raise NotApplicable("none")
            return float(rows.double().mean())

        return statistic

    assert interval_of(often(0.11), 20) is None
    low, high = interval_of(often(0.05), 20)
    assert low < 9.5 < high
