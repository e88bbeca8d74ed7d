import torch

from obverse.report.examples import Examples
from tiny import Negative, corner_classifier, corner_data


def offered(limit, sizes=(24,), seed=0):
    data, classifier = corner_data(sum(sizes)), corner_classifier()
    examples, start = Examples(limit, seed), 0
    for size in sizes:
        sample = data[start : start + size]
        examples.add(Negative(classifier).explain(sample.image), sample, torch.arange(start, start + size))
        start += size
    return examples


def test_every_kind_is_shown_as_equally_as_possible():
    examples = offered(9)
    kinds = torch.stack([examples.explanation.source, examples.explanation.valid.long()], 1)
    # 12 of lesion -> healthy, all valid; 6 valid and 6 not of healthy -> lesion
    assert kinds.unique(dim=0, return_counts=True)[1].tolist() == [3, 3, 3]
    assert len(examples) == 9 and len(examples.sample) == 9
    assert torch.equal(examples.sample.image, corner_data()[examples.index].image)


def test_rare_kinds_are_kept_over_many_batches():
    examples = offered(8, sizes=(10, 30, 8))
    assert len(examples) == 8 and len(examples.index.unique()) == 8
    assert torch.equal(examples.sample.image, corner_data(48)[examples.index].image)
    assert 2 <= int((~examples.explanation.valid).sum()) <= 4


def test_the_choice_is_seeded():
    assert torch.equal(offered(5).index, offered(5).index)
    assert not torch.equal(offered(5).index, offered(5, seed=1).index)


def test_fewer_than_asked_for_are_all_shown():
    assert sorted(offered(100).index.tolist()) == list(range(24))
    assert len(offered(0)) == 0


def test_all_of_them_come_in_the_order_of_the_data():
    few, every = offered(9), offered(100, sizes=(10, 14))
    mixed = few.index.clone()
    few.arrange()
    every.arrange()
    assert not few.complete and torch.equal(few.index, mixed)
    assert every.complete and every.index.tolist() == list(range(24))
    assert torch.equal(every.sample.image, corner_data()[:24].image)
    assert torch.equal(every.explanation.image, every.sample.image)
