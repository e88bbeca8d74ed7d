"""Labels meet a classifier's classes by name."""

import pytest
import torch

from obverse.data import MemoryDataset, Sample, match_labels, view_labels


def _data(label=(0, 1, 1)):
    image = torch.zeros(3, 1, 2, 2)
    return MemoryDataset(Sample(image=image, label=torch.tensor(label)), ["cat", "dog"], name="pets", split="test")


def test_renumbers_by_name():
    matched = match_labels(_data(), ["dog", "owl", "cat"])
    assert matched.labels().tolist() == [2, 0, 0] and matched.classes == ("dog", "owl", "cat")
    assert matched[1].label.tolist() == [0] and (matched.name, matched.split) == ("pets", "test")
    assert isinstance(matched, MemoryDataset)


def test_other_data_sets_are_renumbered_when_read():
    class Whole(type(_data()).__mro__[1]):  # any Dataset that is not a MemoryDataset
        def __init__(self, data):
            self._describe(data)
            self._data = data

        def __len__(self):
            return len(self._data)

        def __getitem__(self, index):
            return self._data[index]

        def labels(self):
            return self._data.labels()

    matched = match_labels(Whole(_data()), ["dog", "cat"])
    assert len(matched) == 3 and matched.labels().tolist() == [1, 0, 0]
    assert matched[slice(0, 2)].label.tolist() == [1, 0] and matched.subset([2]).labels().tolist() == [0]


def test_same_classes_or_no_labels_are_returned_as_they_are():
    data = _data()
    assert match_labels(data, ("cat", "dog")) is data
    bare = MemoryDataset(Sample(image=torch.zeros(1, 1, 2, 2)), [])
    assert match_labels(bare, ["x", "y"]) is bare


def test_missing_class_names_both_lists():
    with pytest.raises(ValueError, match=r"classes: .*pets \(cat, dog\), got cat, cow, without dog; name"):
        match_labels(_data(), ["cat", "cow"])


def test_a_view_is_labelled_by_its_named_class_or_not_at_all():
    data = _data((0, 1, 1))
    assert view_labels(data, ("not dog", "dog")).labels().tolist() == [0, 1, 1]
    turned = view_labels(data, ("not cat", "cat"))
    assert turned.labels().tolist() == [1, 0, 0] and turned.classes == ("not cat", "cat")
    bare = view_labels(data, ("no tail", "tail"))
    assert bare.labels() is None and bare[0].label is None and "label" not in bare.fields and len(bare) == 3
    lazy = view_labels(data.subset([0, 1]), ("no tail", "tail"))
    assert lazy.labels() is None and view_labels(turned, turned.classes) is turned
