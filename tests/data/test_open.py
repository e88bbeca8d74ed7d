"""open(): specifications, sizes, and the two public sets (small copies, and the real ones where they are)."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.data import SPECS, open
from obverse.data.files import places
from obverse.data.images import read_header, read_mask
from obverse.data.public import brain_mri


@pytest.mark.parametrize("spec", ["cifar", "", "folder", "folder:"])
def test_unknown_spec_lists_what_exists(spec):
    with pytest.raises(ValueError, match=r"spec: expected one of lesions.*folder:PATH, got") as error:
        open(spec, split="train")
    assert all(how in str(error.value) for how in SPECS.values())


def test_other_errors():
    with pytest.raises(ValueError, match="count: expected none for mnist"):
        open("mnist", split="train", count=5)
    with pytest.raises(ValueError, match="size: expected at least 1 pixel, got 0"):
        open("lesions", split="train", size=0)
    for spec in ("brain-mri:tumor", "magnetic-tile:x"):
        with pytest.raises(ValueError, match=f"spec: expected {spec.split(':')[0]} or .*, got {spec}"):
            open(spec, split="train")


@pytest.fixture
def no_files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OBVERSE_DATA", raising=False)


@pytest.mark.parametrize("spec", ["brain-mri", "magnetic-tile"])
def test_missing_sets_say_where_to_get_them(no_files, spec):
    with pytest.raises(FileNotFoundError, match=r"data_dir: expected .* Get it from the authors' repository"):
        open(spec, split="train")


BRAIN = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
TILES = ("blowhole", "break", "crack", "fray", "free", "uneven")


def _groups(spec, place):
    parts = [open(spec, split=split, data_dir=place) for split in ("train", "validation", "test")]
    return [{Path(path).name: group for path, group in zip(part.sample.path, part.sample.group.tolist())}
            for part in parts], parts  # fmt: skip


def test_small_brain(no_files, tmp_path, picture):
    place = tmp_path / "brain-tumor-mri"
    for number, kind in enumerate(BRAIN):
        for image in range(40):
            picture(place / "Training" / kind / f"{kind[0]} ({image}).png", seed=100 * number + image, size=(32, 32))
        for image in range(4):  # copies: they leave
            source = place / "Training" / kind / f"{kind[0]} ({image}).png"
            target = place / "Testing" / kind / f"image({image}).png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    four = open("brain-mri", split="train", data_dir=tmp_path)
    assert four.classes == ("none", "glioma", "meningioma", "pituitary") and four.image_shape == (1, 64, 64)
    assert torch.bincount(four.labels()).tolist() == [28] * 4
    assert "official Training and Testing pooled, 16 byte-identical copies of 176 files left out" in four.notes
    assert all("Training" in path for path in four.sample.path)  # whose names tell the series
    two = open("brain-mri:tumour", split="validation", data_dir=tmp_path, size=32)
    assert two.classes == ("none", "tumour") and torch.bincount(two.labels()).tolist() == [6, 18]
    assert two.name == "brain-mri:tumour" and two.image_shape == (1, 32, 32) and "group" in two.fields
    (place / "Training" / "no_tumor").rename(place / "Training" / "x")
    with pytest.raises(ValueError, match=r"data_dir: expected the folders no_tumor, .* for brain-mri, got"):
        open("brain-mri", split="train", data_dir=tmp_path)


def test_brain_slices_that_look_alike_stay_together(no_files, tmp_path):
    random = np.random.default_rng(0)
    place = tmp_path / "brain-tumor-mri"
    for kind in BRAIN:
        (place / "Testing" / kind).mkdir(parents=True)
        (place / "Training" / kind).mkdir(parents=True)
        Image.fromarray(random.integers(0, 256, (32, 32), dtype=np.uint8)).save(place / "Testing" / kind / "t.png")
        slices = random.uniform(30, 220, (8, 32, 32))
        slices[1] = slices[0] + random.normal(0, 22, (32, 32))  # correlates at 0.93: linked as the next number
        slices[3] = slices[0] + random.normal(0, 22, (32, 32))  # and here not
        slices[5] = slices[2] * 0.5 + 60 + random.normal(0, 3, (32, 32))  # 0.99 in any place
        for number, values in enumerate(slices):
            image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
            image.save(place / "Training" / kind / f"{kind[0]}({number + 9}).png")
    groups, parts = _groups("brain-mri", tmp_path)
    group = {name: value for part in groups for name, value in part.items()}
    for kind in BRAIN:
        of = [group[f"{kind[0]}({number + 9}).png"] for number in range(8)]
        assert of[0] == of[1] and of[2] == of[5] and len(set(of)) == 6
    assert sum(len(set(part.values())) for part in groups) == len(set(group.values()))  # none in two splits
    note = "groups: 28 clusters of 36 images (the largest 2, 20 of one image), linked by correlation 0.95, or 0.8"
    assert any(line.startswith(note) for line in parts[0].notes)
    assert "0 images have a near duplicate (correlation 0.99) under another label" in parts[0].notes


def test_copies_under_two_labels_are_kept_together_and_counted(no_files, tmp_path, picture):
    place = tmp_path / "brain-tumor-mri"
    for part in ("Training", "Testing"):
        for number, kind in enumerate(BRAIN):
            for image in range(5):
                picture(place / part / kind / f"{kind[0]}{image}.png", seed=100 * number + 10 * len(part) + image)
    picture(place / "Training" / "glioma_tumor" / "both.png", seed=999)
    picture(place / "Training" / "no_tumor" / "both too.png", seed=999)
    groups, parts = _groups("brain-mri", tmp_path)
    group = {name: value for part in groups for name, value in part.items()}
    assert group["both.png"] == group["both too.png"]
    assert "2 images have a near duplicate (correlation 0.99) under another label" in parts[0].notes


@pytest.fixture
def tiles(no_files, tmp_path, picture):
    """Ten tiles of each class, each under three exposures with rising numbers and nothing else in common."""
    for start, kind in enumerate(TILES):
        for tile in range(10):
            for exposure in range(3):
                number = 10_000 * start + 500 * tile + 40 * exposure
                name = f"exp{exposure + 1}_num_{number}"
                picture(tmp_path / "magnetic-tile" / "images" / kind / f"{name}.png", seed=number, size=(32, 32))
                path = tmp_path / "magnetic-tile" / "masks" / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                empty = kind == "free" or (kind == "uneven" and exposure == 0)
                Image.fromarray(np.full((32, 32), 0 if empty else 255, np.uint8)).save(path)
    return tmp_path


def test_small_tiles_merged_without_moving_an_image(tiles):
    six, two = (open(spec, split="test", data_dir=tiles) for spec in ("magnetic-tile", "magnetic-tile:defect"))
    assert six.classes == ("free", "blowhole", "break", "crack", "fray", "uneven") and two.classes == ("free", "defect")
    assert two.image_shape == (1, 128, 128) and "group" in two.fields
    assert two.sample.path == six.sample.path
    assert not two.sample.mask[two.labels() == 0].any()


def test_exposures_of_a_tile_stay_together(tiles):
    groups, parts = _groups("magnetic-tile", tiles)
    assert [len(part) for part in groups] in ([126, 18, 36], [126, 36, 18], [126, 27, 27])
    together = {}
    for part in groups:
        for name, group in part.items():
            together.setdefault(group, set()).add(int(name.split("_")[2].split(".")[0]) // 500)
    assert len(together) == 60 and all(len(names) == 1 for names in together.values())
    assert "groups: 60 clusters of 180 images (the largest 3, 0 of one image)" in parts[0].notes[0]


def test_empty_masks_of_a_marked_class_are_counted(tiles):
    parts = [open("magnetic-tile:defect", split=split, data_dir=tiles) for split in ("train", "validation", "test")]
    notes = [note for part in parts for note in part.notes if note.startswith("empty masks: ")]
    counts = [len([path for path in part.sample.path if "uneven" in path]) for part in parts]
    assert notes == [f"empty masks: {count // 3} of {count} images of uneven" for count in counts] and sum(counts) == 30


real = pytest.mark.skipif(not Path(os.environ.get("OBVERSE_DATA", "/nonexistent")).is_dir(), reason="no OBVERSE_DATA")


@pytest.mark.data
@real
def test_real_brain_slices_are_grouped():
    catalogue = brain_mri("tumour")
    assert len(catalogue.records) == 2870 and "394 byte-identical copies of 3264 files" in catalogue.notes[0]
    sizes = Counter(record.group for record in catalogue.records)
    assert len(sizes) in range(1050, 1150) and max(sizes.values()) < 30  # no cluster runs away through chaining


@pytest.mark.data
@real
def test_real_brain():
    parts = [open("brain-mri:tumour", split=split, size=8) for split in ("validation", "test")]
    for part in parts:
        assert torch.bincount(part.labels()).tolist() == pytest.approx([50, 380], abs=12)
        assert part.notes[-1].startswith("0 of ")  # no near duplicate in another split
    assert not set(parts[0].sample.group.tolist()) & set(parts[1].sample.group.tolist())


@pytest.mark.data
@real
def test_real_tiles():
    data = open("magnetic-tile", split="test", size=32)
    sample = data.sample
    assert len(sample) in range(180, 225) and all(torch.bincount(sample.label) > 0)
    assert len(set(sample.group.tolist())) in range(30, 40) and "groups: 216 clusters" in data.notes[0]
    assert any(note.startswith("0 of ") for note in data.notes)
    assert not sample.mask[sample.label == 0].any()


@pytest.mark.data
@real
def test_real_masks_are_empty_only_where_the_files_are():
    place = next(place for place in places(None) if (place / "magnetic-tile").is_dir()) / "magnetic-tile"
    empty = 0
    for mask in sorted((place / "masks" / "uneven").iterdir()):
        image = place / "images" / "uneven" / f"{mask.stem}.jpg"
        small = read_mask(mask, read_header(image), image, 128, 128).any()
        assert small == bool(np.asarray(Image.open(mask)).any())
        empty += not small
    assert empty == 4
