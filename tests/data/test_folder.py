"""A user's own folders and CSV files, and every complaint about them."""

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.data import open, records
from obverse.data.folder import folder
from obverse.data.reading import FileDataset


@pytest.fixture
def classes(tmp_path, picture):
    """Ten pictures of each of two classes."""
    for kind in range(2):
        for number in range(10):
            picture(tmp_path / "ab"[kind] / f"{number}.png", seed=10 * kind + number)
    return tmp_path


def _open(place, split="train", **options):
    return open(f"folder:{place}", split=split, **options)


def test_class_folders(classes):
    parts = [_open(classes, split) for split in ("train", "validation", "test")]
    assert sorted(len(part) for part in parts) == [2, 4, 14] or sorted(len(p) for p in parts) == [3, 3, 14]
    train = parts[0]
    assert train.classes == ("a", "b") and train.image_shape == (1, 10, 12)
    assert train.fields == {"image", "label", "path"} and train.name == f"folder:{classes}"
    paths = [path for part in parts for path in part[slice(0, 99)].path]
    assert len(set(paths)) == 20
    first = train[0]
    expected = np.asarray(Image.open(first.path[0])) / 255
    np.testing.assert_allclose(first.image[0, 0], expected, atol=1e-7)
    assert "splits drawn by image, 70/15/15 %, seed 0" in train.notes
    assert train.notes[-1].startswith("0 of 14 images have a near duplicate")


def test_size_stretches_and_says_so(classes):
    data = _open(classes, size=8)
    assert data.image_shape == (1, 8, 8) and any("resized to 8 x 8 pixels: the whole" in n for n in data.notes)


def test_given_splits_and_validation_from_train(tmp_path, picture):
    for split in ("Training", "Testing"):
        for kind in "ab":
            for number in range(10):
                seed = 1000 * len(split) + 100 * ord(kind) + number
                picture(tmp_path / split / kind / f"{number}.png", seed=seed)
    sizes = {split: len(_open(tmp_path, split)) for split in ("train", "validation", "test")}
    assert sizes == {"train": 16, "validation": 4, "test": 20}
    assert "validation: 20 % of train" in _open(tmp_path, "train").notes[0]
    assert all("Testing" in path for path in _open(tmp_path, "test")[slice(0, 99)].path)


def test_near_duplicates_across_splits_are_counted(tmp_path, picture):
    for split in ("train", "test"):
        for kind in "ab":
            for number in range(3):
                picture(tmp_path / split / kind / f"{number}.png", seed=100 * ord(split[1]) + 10 * ord(kind) + number)
    picture(tmp_path / "test" / "a" / "copy.png", seed=100 * ord("r") + 10 * ord("a"))
    assert _open(tmp_path, "test").notes[-1].startswith("1 of 7 images have a near duplicate in another split")


def test_masks_beside_images(tmp_path, picture):
    for kind in "ab":
        for number in range(4):
            picture(tmp_path / "images" / kind / f"{number}.jpg", seed=number)
    mask = np.zeros((10, 12), np.uint8)
    mask[2:5, 3:6] = 255
    for number in range(4):
        (tmp_path / "masks" / "b").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / "b" / f"{number}.png")
    sample = _open(tmp_path)[slice(0, 99)]
    assert sample.mask.flatten(1).sum(1).tolist() == [9.0 * label for label in sample.label.tolist()]
    assert torch.equal(sample.mask[sample.label == 1][0, 0], torch.from_numpy(mask / 255).float())


@pytest.mark.parametrize("place", ["b/1_mask.png", "1.png", "c/1.png"])
def test_masks_that_belong_to_no_image_are_refused(tmp_path, picture, place):
    for kind in "ab":
        picture(tmp_path / "images" / kind / "1.png")
    picture(tmp_path / "masks" / place)
    with pytest.raises(ValueError, match=r"mask: expected (masks named like|sub-folders a, b) .*, got .*; (rename|move)"):
        folder(tmp_path)


def test_masks_of_another_type_are_not_taken_for_nothing_marked(tmp_path, picture):
    for kind in "ab":
        picture(tmp_path / "images" / kind / "1.png")
    picture(tmp_path / "masks" / "a" / "1.png")
    (tmp_path / "masks" / "b").mkdir()
    (tmp_path / "masks" / "b" / "Thumbs.db").write_bytes(b"")  # Windows leaves these everywhere
    folder(tmp_path)
    (tmp_path / "masks" / "b" / "1.gif").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"mask: expected images \(\.png, .*\) in .*b, got 1\.gif; convert it, or remove it"):
        folder(tmp_path)


def test_what_is_left_out_of_a_class_is_said(tmp_path, picture):
    for kind in "ab":
        picture(tmp_path / kind / "1.png")
    picture(tmp_path / "a" / "patient2" / "2.png")
    with pytest.warns(UserWarning, match=r"a: left out what is no image \(\.png, .*\), 1 files or folders, e\.g\. patient2"):
        folder(tmp_path)


def test_splits_of_images_and_masks_are_no_classes(tmp_path, picture):
    for split in ("train", "test"):
        for kind in ("images", "masks"):
            picture(tmp_path / split / kind / "1.png")
    with pytest.raises(ValueError, match=r"spec: expected class folders in .*test, got images and masks; put the splits within"):
        folder(tmp_path)


def test_classes_that_are_the_same_number_keep_their_order(tmp_path, picture):
    for kind in ("10", "01", "1", "2"):
        picture(tmp_path / kind / "1.png")
    assert folder(tmp_path).classes == ("01", "1", "2", "10")


def test_masks_of_given_splits_lie_in_folders_of_the_splits(tmp_path, picture):
    for split in ("train", "test"):
        for kind in "ab":
            picture(tmp_path / "images" / split / kind / "1.png")
    picture(tmp_path / "masks" / "a" / "1.png")
    with pytest.raises(ValueError, match=r"mask: expected sub-folders test, train in .*masks, like those of the images, got a"):
        folder(tmp_path)


def test_csv_with_everything(tmp_path, picture):
    lines = ["path,label,mask,group,split,smile"]
    for number in range(12):
        picture(tmp_path / "files" / f"{number}.bmp", seed=number)
        split = ("train", "val", "test")[number // 4]
        lines.append(f"files/{number}.bmp,{10 if number % 2 else 9},,p{number // 4},{split},{number % 3 % 2}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    data = _open(tmp_path / "list.csv", "validation")
    sample = data[slice(0, 99)]
    assert data.classes == ("9", "10") and data.attribute_names == ("smile",)  # numbers in their own order
    assert data.fields == {"image", "label", "attributes", "group", "path"}
    assert sample.label.tolist() == [0, 1, 0, 1] and sample.group.tolist() == [1, 1, 1, 1]
    assert sample.attributes.tolist() == [[1.0], [0.0], [0.0], [1.0]]
    assert _open(tmp_path, "validation").labels().tolist() == [0, 1, 0, 1]  # the only CSV file of a folder


def test_no_patient_is_on_both_sides(tmp_path, picture):
    lines = ["path,label,group"]
    for number in range(60):
        picture(tmp_path / f"{number}.png", seed=number, size=(4, 4))
        lines.append(f"{number}.png,{'ab'[number % 2]},patient {number // 3}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    groups = [set(_open(tmp_path, split)[slice(0, 99)].group.tolist()) for split in ("train", "validation", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20 and all(groups)


def test_group_in_two_given_splits_is_noted(tmp_path, picture):
    lines = ["path,label,group,split"]
    for number in range(8):
        picture(tmp_path / f"{number}.png", seed=number)
        lines.append(f"{number}.png,{'ab'[number % 2]},p,{'train' if number < 4 else 'test'}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert "1 groups occur in more than one split, as given" in _open(tmp_path, "test").notes


def test_one_coloured_file_makes_all_coloured_and_16_bit_stays(tmp_path, picture):
    for kind in "ab":
        for number in range(7):
            picture(tmp_path / kind / f"{number}.png", mode="I;16" if kind == "a" else "L", seed=number)
    deep = _open(tmp_path)
    assert deep.image_shape == (1, 10, 12) and deep.sample.image.dtype == torch.float32
    picture(tmp_path / "a" / "9.png", mode="RGB")
    assert _open(tmp_path).image_shape == (3, 10, 12)


def test_twelve_bits_in_files_of_sixteen_are_noticed(tmp_path):
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for number in range(8):
            pixels = np.random.default_rng(number).integers(0, 4096, (6, 6)).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / kind / f"{number}.png")
    with pytest.warns(UserWarning, match=r"16 bits: files are read as value / 65535, and none here is above 0.06.*rescale them"):
        data = _open(tmp_path)
    assert data[slice(0, 99)].image.max() < 0.07 and any(note.startswith("16 bits: ") for note in data.notes)


def test_skip_corrupt_counts_and_otherwise_names(classes):
    for kind in "ab":
        (classes / kind / "broken.png").write_bytes(b"x")
        cut = classes / kind / "cut.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(cut)
        cut.write_bytes(cut.read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"broken\.png: expected a readable image"):
        _open(classes)
    parts = [_open(classes, split, skip_corrupt=True) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 20
    notes = [note for part in parts for note in part.notes if note.startswith("corrupt: ")]
    assert sum(int(note.split()[1]) for note in notes) == 4
    for kind in "ab":
        (classes / kind / "broken.png").unlink()
    with pytest.raises(ValueError, match=r"cut\.png: expected a readable image"):
        for split in ("train", "validation", "test"):
            _open(classes, split)


def test_large_sets_are_read_when_asked_for(classes, monkeypatch):
    masks = classes / "masks" / "b"
    masks.mkdir(parents=True)
    for number in range(10):
        Image.fromarray(np.eye(10, 12, dtype=np.uint8)).save(masks / f"{number}.png")
    memory = _open(classes)
    monkeypatch.setattr(records, "MOST_BYTES", 1)
    lazy = _open(classes)
    assert isinstance(lazy, FileDataset) and len(lazy) == len(memory) and lazy.fields == memory.fields
    assert torch.equal(lazy.labels(), memory.labels()) and lazy.notes == memory.notes
    for index in (3, -1, slice(2, 9), [5, 0], torch.tensor([4, 4])):
        ours, expected = lazy[index], memory[index]
        assert torch.equal(ours.image, expected.image) and torch.equal(ours.mask, expected.mask)
        assert ours.path == expected.path and torch.equal(ours.label, expected.label)
    assert sum(len(batch) for batch in lazy.batches(4)) == 14
    assert torch.equal(lazy.subset([1, 2])[0].image, memory[1].image)


def test_class_missing_in_a_split_is_noted(tmp_path, picture):
    for split, kind in (("train", "a"), ("train", "b"), ("test", "a")):
        picture(tmp_path / split / kind / "1.png")
    assert "no image of b in test" in _open(tmp_path, "test").notes
    picture(tmp_path / "test" / "b" / "1.png")


def test_many_images_are_not_compared(classes, monkeypatch):
    monkeypatch.setattr(records, "MOST_COMPARED", 10)
    assert "near duplicates across splits: not looked for (more than 10 images)" in _open(classes).notes


def test_folder_errors(tmp_path, picture):
    with pytest.raises(FileNotFoundError, match=r"spec: expected a folder or a CSV file, got .*gone"):
        folder(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"two or more classes in .*, got none"):
        folder(tmp_path)
    picture(tmp_path / "a" / "1.png")
    with pytest.raises(ValueError, match=r"two or more classes in .*, got a; put the images"):
        folder(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"expected images \(.png, .* in .*b, got none; add some"):
        folder(tmp_path)
    picture(tmp_path / "b" / "1.png")
    picture(tmp_path / "b" / "2.png")
    picture(tmp_path / "masks" / "b" / "1.png")
    with pytest.raises(ValueError, match=r"mask: expected one for every image of class b .*2\.png has none"):
        folder(tmp_path)
    for name in ("x.csv", "y.csv"):
        (tmp_path / name).write_text("path,label\n")
    with pytest.raises(ValueError, match=r"expected one CSV file in .*, got 2; name one: folder:.*x.csv"):
        folder(tmp_path)


def test_mask_of_another_size(tmp_path, picture):
    for kind in "ab":
        for number in range(4):
            picture(tmp_path / kind / f"{number}.png")
            picture(tmp_path / "masks" / kind / f"{number}.png", size=(9, 9))
    with pytest.raises(ValueError, match=r"masks.*\.png: expected a mask of 12 x 10 pixels .* got 9 x 9"):
        _open(tmp_path)


def test_split_errors(classes, tmp_path, picture):
    with pytest.raises(ValueError, match="split: expected train, validation or test, got 'dev'"):
        _open(classes, "dev")
    with pytest.raises(ValueError, match="size: expected at least 1 pixel, got 0"):
        _open(classes, size=0)
    for kind in "ab":
        picture(tmp_path / "given" / "train" / kind / "1.png")
    with pytest.raises(ValueError, match=r"split: expected images in test, folder:.* has none there; add some, or leave out all"):
        _open(tmp_path / "given", "test")


def test_too_few_images_for_three_splits(tmp_path, picture):
    for kind in "ab":
        picture(tmp_path / kind / "1.png")
    with pytest.raises(ValueError, match=r"has none there; add images, there are too few for three splits"):
        for split in ("train", "validation", "test"):
            _open(tmp_path, split)


def test_all_corrupt(tmp_path):
    for kind in "ab":
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "1.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"expected readable images in folder:.*, got 2 corrupt files"):
        _open(tmp_path, skip_corrupt=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n", "expected the columns path and label, path not among file, label"),
        ("", "expected the columns path and label, path and label not among none"),
        ("path,label\n1.png\n", "line 2: expected as many cells as there are columns"),
        ("path,label\n1.png,a,b\n", "line 2: expected as many cells as there are columns"),
        ("path,label\n1.png,\n", "line 2: .* with path and label filled"),
        ("path,label\n2.png,a\n", r"line 2: expected an image file, got .*2\.png, which does not exist"),
        ("path,label,mask\n1.png,a,2.png\n", r"line 2: expected an image file, got .*2\.png"),
        ("path,label,old\n1.png,a,yes\n", "line 2: expected 0 or 1 for attribute old, got 'yes'"),
        ('path,label\n1.png,"a"x\n', "expected a CSV file, got .* after line 1"),
        ('"path"x,label\n', "expected a CSV file, got .* in the first line; mend it"),
        ("path,label,label\n1.png,a,b\n", "expected columns of different names, got 'label' twice"),
        ("path,label,group\n1.png,a,x\n1.png,b,\n", r"group: expected one for every image .*1\.png has none"),
        ("path,label,split\n1.png,a,train\n1.png,b,\n", "split: expected train, validation or test for every image"),
        ("path,label,split\n1.png,a,train\n1.png,b,old\n", "no split at all, got 'old' for"),
    ],
)
def test_csv_errors(tmp_path, picture, text, message):
    picture(tmp_path / "1.png")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        _open(tmp_path)


def test_a_csv_of_another_encoding_says_how_to_save_it(tmp_path, picture):
    picture(tmp_path / "1.png")
    for text in ("path,label\n1.png,\xd6l\n", "path,label,\xd6l\n1.png,a,0\n"):
        (tmp_path / "list.csv").write_bytes(text.encode("cp1252"))
        with pytest.raises(ValueError, match=r"list.csv: expected UTF-8, got .*; save it as CSV UTF-8"):
            _open(tmp_path)
