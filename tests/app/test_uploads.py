"""Uploads: looked at before they are decoded, decoded where they can do no harm."""

import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.app import uploads
from obverse.app.uploads import checked, read_upload

SHAPE = (1, 64, 64)


def test_a_picture_comes_as_the_classifier_takes_it(files):
    image, index, count, notes = checked(files["good.png"], SHAPE)
    assert image.shape == SHAPE and image.dtype == np.float32 and 0 <= image.min() <= image.max() <= 200 / 255
    assert (index, count) == (0, 1)
    assert notes == ("stretched from 80 x 70 to the classifier's 64 x 64 pixels",)
    wanted = np.asarray(Image.open(files["good.png"]).resize((64, 64), Image.Resampling.BILINEAR)) / 255
    assert np.abs(image[0] - wanted).max() < 1e-6


def test_sixteen_bit_is_read_and_said(files):
    image, _, _, notes = checked(files["deep.tif"], SHAPE)
    assert 0 < image.max() < 4000 / 65535
    assert any("16 bit: 65535 is white" in note for note in notes)


def test_colour_and_several_pictures_are_said(tmp_path):
    Image.new("RGB", (64, 64), (255, 0, 0)).save(tmp_path / "red.png")
    image, _, _, notes = checked(tmp_path / "red.png", SHAPE)
    assert notes == ("colour turned to grey",) and image.mean() == pytest.approx(76 / 255)
    Image.new("L", (64, 64)).save(tmp_path / "two.tif", save_all=True, append_images=[Image.new("L", (64, 64), 9)])
    assert checked(tmp_path / "two.tif", SHAPE)[3] == ("the first of several pictures in the file",)
    Image.new("L", (64, 64), 51).save(tmp_path / "grey.png")
    image, _, _, notes = checked(tmp_path / "grey.png", (3, 64, 64))
    assert image.shape == (3, 64, 64) and image.mean() == pytest.approx(0.2) and notes == ()


def test_a_palette_of_greys_is_no_colour_and_a_damaged_one_is_refused(tmp_path):
    greys = Image.new("P", (64, 64), 51)
    greys.putpalette([level for k in range(256) for level in (k, k, k)])
    greys.save(tmp_path / "palette.png")
    assert checked(tmp_path / "palette.png", SHAPE)[3] == ()
    whole = (tmp_path / "palette.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-30])
    with pytest.raises(ValueError, match="expected a whole picture, got a damaged one"):
        checked(tmp_path / "cut.png", SHAPE)


@pytest.mark.parametrize(
    ("name", "message"),
    [("text.png", "expected a PNG, JPEG, TIFF, DICOM or NIfTI file, got something else"),
     ("bomb.png", r"at most 64 MB and 25 million pixels, got (far more|10000 x 10000) pixels; make it smaller"),
     ("cut.jpg", "expected a whole picture, got a damaged one"),
     ("moving.gif", "expected a PNG, JPEG, TIFF, DICOM or NIfTI file, got something else"),
     ("script.svg", "expected a PNG, JPEG, TIFF, DICOM or NIfTI file, got something else")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_picture_is_refused(files, name, message):
    with pytest.raises(ValueError, match=message):
        checked(files[name], SHAPE)


@pytest.mark.parametrize(("name", "module"), [("scan.dcm", "pydicom"), ("head.nii", "nibabel")])
def test_without_the_extra_medical_it_says_what_to_install(tmp_path, monkeypatch, name, module):
    nifti = (348).to_bytes(4, "little") + bytes(340) + b"n+1\0" + bytes(200)
    (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(200) if module == "pydicom" else nifti)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"needs {module}.*; pip install -e '.\[medical\]'"):
        checked(tmp_path / name, SHAPE)


def test_large_files_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    (tmp_path / "big.png").write_bytes(bytes(1001))
    with pytest.raises(ValueError, match="got 0 MB; make it smaller"):
        checked(tmp_path / "big.png", SHAPE)


def test_pixels_are_counted_before_decoding(files, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_PIXELS", 5000)
    monkeypatch.setattr(uploads, "image_for", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="got 80 x 70 pixels; make it smaller"):
        checked(files["good.png"], SHAPE)


@pytest.mark.process
def test_another_process_gives_the_same_and_its_errors_name_the_file_only(files):
    found = read_upload(files["good.png"], SHAPE)
    assert torch.equal(found.image[0], torch.from_numpy(checked(files["good.png"], SHAPE)[0]))
    with pytest.raises(ValueError, match=r"^text\.png: expected a PNG"):
        read_upload(files["text.png"], SHAPE)


class Deadly:
    """Unpickled by the child, it ends it as a crashing decoder would."""

    def __reduce__(self):
        return os.abort, ()


@pytest.mark.process
def test_a_decoder_that_dies_takes_nobody_along(files):
    with pytest.raises(ValueError, match=r"good\.png: expected a picture that can be decoded within 20 s"):
        read_upload(files["good.png"], Deadly())
    assert read_upload(files["good.png"], SHAPE).image.shape == (1, 1, 64, 64)


@pytest.mark.process
def test_a_decoder_that_takes_too_long_is_ended(files, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_SECONDS", 0)
    with pytest.raises(ValueError, match="decoded within 0 s"):
        read_upload(files["good.png"], SHAPE)
