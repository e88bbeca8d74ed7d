"""idx files: a hand-made one, class choice, the 80/20 division."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from obverse.data import idx, open


def pack(array):
    array = np.asarray(array, dtype=np.uint8)
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A small MNIST: pixel values count the images, 20 of each digit for training and 2 for test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OBVERSE_DATA", raising=False)
    monkeypatch.setattr(idx, "_ADDRESSES", {"mnist": (), "fashion-mnist": ()})
    folder = tmp_path / "mnist"
    folder.mkdir()
    for file, each in (("train", 20), ("t10k", 2)):
        label = np.tile(np.arange(10), each)
        image = np.broadcast_to(np.arange(len(label))[:, None, None], (len(label), 28, 28))
        contents = pack(image), pack(label)
        hashes = tuple(hashlib.sha256(content).hexdigest() for content in contents)
        monkeypatch.setitem(idx._HASHES, ("mnist", file), hashes)
        (folder / f"{file}-images-idx3-ubyte.gz").write_bytes(gzip.compress(contents[0]))
        (folder / f"{file}-labels-idx1-ubyte").write_bytes(contents[1])  # decompressed ones are found too
    return tmp_path


def test_read_idx_by_hand():
    content = b"\0\0\x08\x02" + b"\0\0\0\x02" + b"\0\0\0\x03" + bytes([1, 2, 3, 4, 5, 255])
    assert idx.read_idx(content).tolist() == [[1, 2, 3], [4, 5, 255]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\x00", "content: expected an idx file of bytes"),
        (b"\0\0", "content: expected an idx file of bytes"),
        (pack([1, 2, 3])[:-1], r"content: expected 3 values for shape \(3,\), got 2; the file is cut short"),
        (pack([[1]])[:8], "the file is cut short"),
    ],
)
def test_read_idx_errors(content, message):
    with pytest.raises(ValueError, match=message):
        idx.read_idx(content)


def test_splits_are_stratified_and_disjoint(place):
    parts = {split: open("mnist", split=split, data_dir=place) for split in ("train", "validation", "test")}
    assert {split: torch.bincount(data.labels()).tolist() for split, data in parts.items()} == {
        "train": [16] * 10, "validation": [4] * 10, "test": [2] * 10,
    }  # fmt: skip
    seen = [(data[slice(0, 999)].image[:, 0, 0, 0] * 255).round().int().tolist() for data in parts.values()]
    assert sorted(seen[0] + seen[1]) == list(range(200))
    assert "80 and 20 %" in parts["train"].notes[0] and "official test" in parts["test"].notes[0]
    assert parts["train"].image_shape == (1, 28, 28)


def test_chosen_classes_are_renumbered_and_keep_their_images(place):
    pair = open("mnist:8,3", split="validation", data_dir=place)
    assert pair.classes == ("8", "3") and pair.name == "mnist:8,3"
    number = (pair[slice(0, 99)].image[:, 0, 0, 0] * 255).round().int()
    assert torch.equal(number % 10, torch.tensor([8, 3], dtype=torch.int32)[pair.labels()])
    whole = open("mnist", split="validation", data_dir=place)
    all_numbers = (whole[slice(0, 99)].image[:, 0, 0, 0] * 255).round().int()
    assert set(number.tolist()) == {n for n in all_numbers.tolist() if n % 10 in (3, 8)}


def test_seed_draws_another_validation_set(place):
    first, second = (open("mnist", split="validation", data_dir=place, seed=seed).sample.image for seed in (0, 1))
    assert not torch.equal(first, second)


def test_resizing_is_stated(place):
    data = open("mnist:3,8", split="test", data_dir=place, size=32)
    assert data.image_shape == (1, 32, 32) and data.notes[-1] == (
        "resized from 28 to 32 pixels, bilinear with antialiasing")  # fmt: skip
    assert (data[0].image * 255).round().unique().numel() == 1  # constant images stay constant


def test_class_names():
    assert idx._choose("ankle boot, T-SHIRT", idx.CLASSES["fashion-mnist"], "fashion-mnist") == [9, 0]
    assert idx._choose("9,0", idx.CLASSES["fashion-mnist"], "fashion-mnist") == [9, 0]


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ("mnist:3,x", "train", r"spec: expected classes of mnist \(0, 1, .*9\), got 'x'; write e.g. mnist:3,8"),
        ("fashion-mnist:3,10", "train", "9 ankle boot\\), got '10'"),
        ("mnist:3", "train", "spec: expected two or more different classes, got '3'"),
        ("mnist:3,3", "train", "spec: expected two or more different classes, got '3,3'"),
        ("mnist", "dev", "split: expected train, validation or test, got 'dev'"),
    ],
)
def test_errors(spec, split, message):
    with pytest.raises(ValueError, match=message):
        open(spec, split=split)


real = pytest.mark.skipif(not Path(os.environ.get("OBVERSE_DATA", "/nonexistent")).is_dir(), reason="no OBVERSE_DATA")


@pytest.mark.data
@real
def test_real_digits():
    assert torch.bincount(open("mnist:3,8", split="test").labels()).tolist() == [1010, 974]
    sizes = [len(open("mnist:3,8", split=split)) for split in ("train", "validation")]
    assert sizes == [9586, 2396]


@pytest.mark.data
@real
def test_real_fashion():
    data = open("fashion-mnist:coat,ankle boot", split="test")
    assert data.classes == ("coat", "ankle boot") and len(data) == 2000
