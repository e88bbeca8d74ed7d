"""Decoding: every mode and file type, the resizing geometry, masks, broken files."""

import numpy as np
import pytest
from PIL import Image

from obverse.data.images import CorruptImageError, Header, read_header, read_image, read_mask, read_thumbnail


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossless_types_are_read_exactly(tmp_path, picture, suffix, mode):
    path = tmp_path / f"a{suffix}"
    values = picture(path, mode=mode)
    assert read_header(path) == Header(10, 12, mode == "RGB", False)
    array = read_image(path, 10, 12, colour=mode == "RGB", deep=False)
    expected = values[None] if mode == "L" else values.transpose(2, 0, 1)
    assert array.dtype == np.uint8 and np.array_equal(array, expected)


def test_jpeg_is_read_nearly(tmp_path):
    values = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    Image.fromarray(values).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg", 16, 16, colour=False, deep=False)[0].astype(int) - values).max() < 6


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_is_divided_by_65535_and_not_rounded(tmp_path, picture, suffix):
    values = picture(tmp_path / f"a{suffix}", mode="I;16")
    assert read_header(tmp_path / f"a{suffix}").deep
    array = read_image(tmp_path / f"a{suffix}", 10, 12, colour=False, deep=True)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array[0], values / 65535, atol=1e-7)


def test_float_tiff_in_range(tmp_path, picture):
    values = picture(tmp_path / "a.tif", mode="F")
    assert np.array_equal(read_image(tmp_path / "a.tif", 10, 12, colour=False, deep=True)[0], values)


def test_8_bit_among_deep_ones_and_grey_among_coloured_ones(tmp_path, picture):
    values = picture(tmp_path / "a.png")
    deep = read_image(tmp_path / "a.png", 10, 12, colour=True, deep=True)
    assert deep.shape == (3, 10, 12)
    np.testing.assert_allclose(deep, np.stack([values / 255] * 3), atol=1e-7)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_a_palette_of_greys_is_no_colour(tmp_path, suffix):
    values = np.random.default_rng(3).integers(0, 256, (10, 12), np.uint8)
    image = Image.fromarray(255 - values)
    image.putpalette([level for k in range(256) for level in (255 - k,) * 3])
    image.save(tmp_path / f"a.{suffix}")
    assert image.mode == "P" and read_header(tmp_path / f"a.{suffix}") == Header(10, 12, False, False)
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}", 10, 12, colour=False, deep=False)[0], values)


@pytest.mark.parametrize(("mode", "colour"), [("LA", False), ("RGBA", True), ("P", True), ("1", False)])
def test_alpha_is_dropped_and_other_modes_converted(tmp_path, mode, colour):
    values = np.random.default_rng(0).integers(0, 256, (10, 12), dtype=np.uint8)
    image = Image.fromarray(values).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.zeros((10, 12), np.uint8)))
    if mode == "P":
        image.putpalette([part for level in range(256) for part in (level, 0, 255 - level)])
    image.save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png") == Header(10, 12, colour, False)
    expected = np.asarray(image.convert("RGB" if colour else "L"))
    array = read_image(tmp_path / "a.png", 10, 12, colour=colour, deep=False)
    assert np.array_equal(array, expected.transpose(2, 0, 1) if colour else expected[None])
    assert array.any()


def test_whole_image_is_stretched_and_masks_keep_the_geometry(tmp_path):
    values = np.zeros((40, 20), np.uint8)
    values[20:, 10:] = 255  # the lower right quarter, however the image is stretched
    Image.fromarray(values).save(tmp_path / "a.png")
    header = read_header(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", 8, 8, colour=False, deep=False)[0]
    mask = read_mask(tmp_path / "a.png", header, tmp_path / "a.png", 8, 8)[0]
    expected = np.zeros((8, 8))
    expected[4:, 4:] = 1
    assert np.array_equal(mask, expected) and np.abs(image / 255 - expected).mean() < 0.06


@pytest.mark.parametrize("value", [1, 128, 255])
def test_mask_is_inside_where_it_is_not_zero(tmp_path, value):
    values = np.zeros((6, 6), np.uint8)
    values[2, 3] = value
    Image.fromarray(values).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", Header(6, 6, False, False), tmp_path / "a.png", 6, 6)
    assert mask.shape == (1, 6, 6) and mask.sum() == 1 and mask[0, 2, 3] == 1


@pytest.mark.parametrize("saved", ["palette", "palette the other way round", "alpha on black", "alpha on white", "blue"])
def test_mask_is_read_by_what_it_shows(tmp_path, saved):
    values = np.zeros((64, 64), np.uint8)
    values[10:20, 10:20] = 255
    if saved.startswith("palette"):
        image = Image.fromarray(values // 255 if saved == "palette" else 1 - values // 255).convert("P")
        image.putpalette([0, 0, 0, 255, 0, 0] if saved == "palette" else [255, 0, 0, 0, 0, 0])
    elif saved == "blue":
        image = Image.fromarray(np.stack([0 * values, 0 * values, values // 60], 2))
    else:
        shade = np.full_like(values, 255 if saved == "alpha on white" else 0)
        image = Image.fromarray(np.stack([shade, shade, shade, values], 2))
    image.save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", Header(64, 64, False, False), tmp_path / "a.png", 64, 64)
    assert np.array_equal(mask[0], values // 255)


def test_mask_is_inside_where_half_of_a_pixel_is_or_most(tmp_path):
    def small(values, size):
        Image.fromarray(values).save(tmp_path / "m.png")
        header = Header(*values.shape, False, False)
        return read_mask(tmp_path / "m.png", header, tmp_path / "a.png", size, size)[0].tolist()

    values = np.zeros((8, 8), np.uint8)
    values[0:2, 0:4] = 255  # exactly half of the first of four pixels
    values[4:, 5:8] = 255  # three quarters of the last
    values[4, 0:2] = 255  # an eighth
    assert small(values, 2) == [[1, 0], [0, 1]]
    values[:] = 0
    values[3, 3] = values[5, 1] = values[5, 2] = 255  # a sixteenth and an eighth: the larger one stays
    assert small(values, 2) == [[0, 0], [1, 0]]
    values[:] = 0
    assert small(values, 2) == [[0, 0], [0, 0]]
    values[7, 7] = 255
    large = np.array(small(values, 24))
    assert large.sum() == 9 and large[21:, 21:].all()


def test_jpeg_mask_has_a_threshold_in_the_middle(tmp_path):
    values = np.zeros((32, 32), np.uint8)
    values[8:21, 5:19] = 255
    Image.fromarray(values).save(tmp_path / "m.jpg", quality=60)
    mask = read_mask(tmp_path / "m.jpg", Header(32, 32, False, False), tmp_path / "a.png", 32, 32)
    assert np.array_equal(mask[0], values // 255)


def test_mask_of_another_size_names_both(tmp_path, picture):
    picture(tmp_path / "m.png", size=(5, 5))
    message = r"m\.png: expected a mask of 12 x 10 pixels like its image .*a\.png, got 5 x 5"
    with pytest.raises(ValueError, match=message) as error:
        read_mask(tmp_path / "m.png", Header(10, 12, False, False), tmp_path / "a.png", 10, 12)
    assert not isinstance(error.value, CorruptImageError)


def test_thumbnail_is_the_mean_of_what_it_covers(tmp_path, picture):
    values = picture(tmp_path / "a.png", size=(64, 96))
    expected = values.reshape(32, 3, 32, 2).mean((1, 3))
    np.testing.assert_allclose(read_thumbnail(tmp_path / "a.png"), expected, atol=1e-3)


def test_broken_files_are_named(tmp_path, picture):
    (tmp_path / "text.png").write_text("no image")
    picture(tmp_path / "cut.png", size=(64, 64))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    with pytest.raises(CorruptImageError, match=r"text\.png: expected a readable image.*skip_corrupt=True"):
        read_header(tmp_path / "text.png")
    with pytest.raises(CorruptImageError, match=r"cut\.png: expected a readable image"):
        read_image(tmp_path / "cut.png", 64, 64, colour=False, deep=False)
    with pytest.raises(CorruptImageError, match=r"gone\.png"):
        read_header(tmp_path / "gone.png")
    assert not read_thumbnail(tmp_path / "cut.png").any()


@pytest.mark.parametrize("limit", [119, 40])  # Pillow itself warns above its limit and raises above twice of it
def test_decompression_bomb_is_refused(tmp_path, picture, monkeypatch, limit):
    picture(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(CorruptImageError, match=r"a\.png: expected a readable image"):
        read_header(tmp_path / "a.png")


def test_values_outside_the_range(tmp_path):
    Image.fromarray(np.full((4, 4), 1.5, np.float32)).save(tmp_path / "a.tif")
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "b.tif")
    with pytest.raises(ValueError, match=r"a\.tif: expected values from 0 to 1, got 1.5 to 1.5; rescale"):
        read_image(tmp_path / "a.tif", 4, 4, colour=False, deep=True)
    with pytest.raises(ValueError, match=r"b\.tif: expected values from 0 to 65535, got 70000"):
        read_image(tmp_path / "b.tif", 4, 4, colour=False, deep=True)


def _turned(path, values, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(path, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exif_orientation_is_applied(tmp_path, name, orientation, dtype):
    if dtype == np.uint16 and name == "a.jpg":
        return
    quarters = np.repeat(np.repeat(np.array([[10, 80, 120], [160, 200, 240]]), 16, 0), 16, 1).astype(dtype)
    _turned(tmp_path / name, quarters, orientation)
    rows = {1: [0, 1], 2: [0, 1], 3: [1, 0], 4: [1, 0], 5: [0, 1], 6: [1, 0], 7: [1, 0], 8: [0, 1]}[orientation]
    columns = {1: 1, 2: -1, 3: -1, 4: 1, 5: 1, 6: 1, 7: -1, 8: -1}[orientation]
    upright = np.repeat(np.repeat(quarters[::16, ::16][rows][:, ::columns], 16, 0), 16, 1)
    upright = upright if orientation < 5 else upright.T
    header = read_header(tmp_path / name)
    assert (header.height, header.width) == upright.shape
    deep = dtype == np.uint16
    array = read_image(tmp_path / name, *upright.shape, colour=False, deep=deep)[0] * (65535.0 if deep else 1.0)
    assert np.abs(array - upright).max() < 4
    thumbnail = np.asarray(Image.fromarray(upright.astype(np.float32)).resize((32, 32), Image.Resampling.BOX))
    assert np.abs(read_thumbnail(tmp_path / name) - thumbnail).max() < 4


def test_mask_has_an_orientation_of_its_own_only(tmp_path):
    values = np.zeros((6, 4), np.uint8)
    values[0, 1] = 255
    _turned(tmp_path / "a.png", np.zeros((4, 6), np.uint8), 6)  # stands 6 high, 4 wide
    Image.fromarray(values).save(tmp_path / "m.png")
    _turned(tmp_path / "turned.png", np.asarray(Image.fromarray(values).transpose(Image.Transpose.ROTATE_90)), 6)
    header = read_header(tmp_path / "a.png")
    for name in ("m.png", "turned.png"):
        assert np.array_equal(read_mask(tmp_path / name, header, tmp_path / "a.png", 6, 4)[0], values // 255)


def test_broken_exif_data_is_ignored(tmp_path, picture):
    values = picture(tmp_path / "plain.png")
    Image.fromarray(values).save(tmp_path / "a.png", exif=b"Exif\x00\x00nothing of the kind")
    assert np.array_equal(read_image(tmp_path / "a.png", 10, 12, colour=False, deep=False)[0], values)
