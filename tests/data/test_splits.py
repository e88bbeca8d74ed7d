"""Group splits and near duplicates."""

import numpy as np
import torch

from obverse.data.splits import assign, clusters, near_duplicates, similar_pairs, standardised


def test_fractions_are_met_in_each_class_and_repeat():
    label = torch.tensor([0] * 100 + [1] * 40)
    part = assign(label, None, (0.7, 0.15, 0.15), seed=0)
    assert torch.bincount(part[:100]).tolist() == [70, 15, 15]
    assert torch.bincount(part[100:]).tolist() == [28, 6, 6]
    assert torch.equal(part, assign(label, None, (0.7, 0.15, 0.15), seed=0))
    assert not torch.equal(part, assign(label, None, (0.7, 0.15, 0.15), seed=1))


def test_no_group_is_divided_and_shares_are_near():
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(0, 60, (600,), generator=generator) * 7
    label = (torch.rand(600, generator=generator) < 0.3).long()
    part = assign(label, group, (0.7, 0.15, 0.15), seed=0)
    for value in group.unique():
        assert part[group == value].unique().numel() == 1
    share = torch.bincount(part).float() / 600
    assert torch.allclose(share, torch.tensor([0.7, 0.15, 0.15]), atol=0.05)


def test_by_hand():
    # one class, groups of 3, 1: laid end to end their middles are at 3/8 and 7/8, or at 1/8 and 5/8
    part = assign(torch.zeros(4, dtype=torch.int64), torch.tensor([5, 5, 5, 9]), (0.5, 0.5), seed=0)
    assert part.tolist() in ([0, 0, 0, 1], [1, 1, 1, 0])


def test_near_duplicates_survive_contrast_and_noise_and_must_cross_the_split():
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(5, 32, 32, generator=generator) * 255
    copy = picture[0] * 0.6 + 40 + torch.randn(32, 32, generator=generator)
    same_side = picture[1].clone()
    flat = torch.full((2, 32, 32), 7.0)
    thumbnail = torch.cat([picture, copy[None], same_side[None], flat])
    part = torch.tensor([0, 0, 0, 0, 0, 1, 0, 0, 1])
    assert near_duplicates(thumbnail, part).tolist() == [True, False, False, False, False, True, False, False, False]


def test_clusters_by_hand():
    links = torch.tensor([[0, 2], [2, 4], [5, 3]])
    assert clusters(links, 6).tolist() == [0, 1, 0, 2, 0, 2]
    assert clusters(torch.zeros(0, 2, dtype=torch.int64), 3).tolist() == [0, 1, 2]


def test_similar_pairs_are_those_of_numpy():
    generator = torch.Generator().manual_seed(0)
    thumbnail = torch.rand(1100, 3, 2, generator=generator)
    thumbnail[7] = 0.5  # without contrast: correlates with nothing
    pairs = similar_pairs(standardised(thumbnail), 0.95).tolist()
    flat = thumbnail.flatten(1).double().numpy()
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(flat)
    sure = {(a, b) for a, b in np.argwhere(np.nan_to_num(expected) > 0.95 + 1e-5).tolist() if a != b}
    perhaps = {(a, b) for a, b in np.argwhere(np.nan_to_num(expected) > 0.95 - 1e-5).tolist() if a != b}
    assert len(sure) > 1000 and sure <= set(map(tuple, pairs)) <= perhaps
    assert all(7 not in pair for pair in pairs)
