"""DICOM and NIfTI slices: values, windows and orientation against pydicom, nibabel and geometry worked out by hand."""

import gzip
import itertools

import numpy as np
import pytest
import torch

from obverse.data import medical
from obverse.data.images import CorruptImageError, image_for
from obverse.data.medical import arranged, fitted, is_medical, read_slice, windowed

pydicom = pytest.importorskip("pydicom", reason="needs the extra `medical`")
nibabel = pytest.importorskip("nibabel", reason="needs the extra `medical`")
Dataset, FileMetaDataset = pydicom.dataset.Dataset, pydicom.dataset.FileMetaDataset
apply_windowing = pytest.importorskip("pydicom.pixels.processing").apply_windowing
ExplicitVRLittleEndian, generate_uid = pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.generate_uid
MRImageStorage = pydicom.uid.MRImageStorage
VALUES = np.arange(12, dtype=np.int16).reshape(3, 4) * 10
AXIAL = [1, 0, 0, 0, 1, 0]  # columns to the left, rows to the back


def dicom(path, values=VALUES, **fields):
    """Write a grey DICOM file; fields are added or replace the usual ones."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Rows, data.Columns = values.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.PixelData = values.astype("<i2").tobytes()
    data.ImageOrientationPatient = AXIAL
    if values.ndim == 3:
        data.NumberOfFrames = len(values)
    for name, value in fields.items():
        if value is None:
            del data[name]
        else:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def test_window_is_what_pydicom_makes_of_it():
    values = np.linspace(-300, 500, 41).astype(np.float32)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        data = Dataset()
        data.PhotometricInterpretation, data.BitsStored, data.PixelRepresentation = "MONOCHROME2", 12, 0
        data.WindowCenter, data.WindowWidth, data.VOILUTFunction = 40, 400, function
        wanted = apply_windowing(values.astype(np.float64), data) / 4095
        assert np.abs(windowed(values, 40, 400, function) - wanted).max() < 1e-5, function


def test_window_by_hand():
    # C.11.2.1.2.1: centre 2048, width 4096 shows 0 as black and 4095 as white
    assert windowed(np.array([0, 4095, 2047.5], np.float32), 2048, 4096).tolist() == pytest.approx([0, 1, 0.5])
    assert windowed(np.array([99, 100], np.float32), 100, 1).tolist() == [0, 1]  # a threshold


def test_slope_intercept_and_window(tmp_path):
    path = dicom(tmp_path / "a.dcm", RescaleSlope=2, RescaleIntercept=-100, WindowCenter=0, WindowWidth=101)
    found = read_slice(path)
    assert (found.index, found.count) == (0, 1) and found.image.shape == (1, 3, 4)
    assert np.abs(found.image[0] - windowed(VALUES * 2.0 - 100, 0, 101)).max() < 1e-6
    assert found.notes == ("window of the file: centre 0, width 101",)
    own = read_slice(path, window=(-100, 120))
    assert np.abs(own.image[0] - VALUES * 2.0 / 220).max() < 1e-6


def test_white_stored_as_zero_is_turned_round(tmp_path):
    window = {"WindowCenter": 60, "WindowWidth": 111}
    plain = read_slice(dicom(tmp_path / "a.dcm", **window))
    turned = read_slice(dicom(tmp_path / "b.dcm", PhotometricInterpretation="MONOCHROME1", **window))
    assert np.abs(turned.image - (1 - plain.image)).max() < 1e-6
    assert "inverted: the file stores white as 0" in turned.notes


def test_without_a_window_percentiles_are_taken_and_said(tmp_path):
    found = read_slice(dicom(tmp_path / "a.dcm"))
    low, high = np.percentile(VALUES, (0.5, 99.5))
    assert np.abs(found.image[0] - ((VALUES - low) / (high - low)).clip(0, 1)).max() < 1e-6
    assert found.notes[0].startswith("no window in the file: 0.55 is black and 109.45 is white")


def test_frames_of_multi_frame_files_with_their_own_settings(tmp_path):
    def group(name, **fields):
        inner, outer = Dataset(), Dataset()
        for key, value in fields.items():
            setattr(inner, key, value)
        setattr(outer, name, [inner])
        return outer

    stack = np.stack([VALUES, VALUES + 1, VALUES + 2])
    frames = [group("FrameVOILUTSequence", WindowCenter=50 + k, WindowWidth=100) for k in range(3)]
    shared = group("PixelValueTransformationSequence", RescaleSlope=3, RescaleIntercept=1)
    path = dicom(tmp_path / "a.dcm", stack, PerFrameFunctionalGroupsSequence=frames,
                 SharedFunctionalGroupsSequence=[shared])  # fmt: skip
    for index in range(3):
        found = read_slice(path, index)
        assert found.count == 3
        assert np.abs(found.image[0] - windowed(stack[index] * 3.0 + 1, 50 + index, 100)).max() < 1e-6
    assert read_slice(path).index == 1
    with pytest.raises(CorruptImageError, match="expected a slice from 0 to 2, got 3"):
        read_slice(path, 3)


def test_colour_keeps_its_three_channels(tmp_path):
    from pydicom.data import get_testdata_file

    found = read_slice(medical.Path(get_testdata_file("SC_rgb_rle.dcm", download=False)))
    wanted = pydicom.dcmread(get_testdata_file("SC_rgb_rle.dcm", download=False)).pixel_array / 255
    assert np.abs(found.image - wanted.transpose(2, 0, 1)).max() < 1e-6
    assert "shown as stored" in found.notes[-1]


LOOKS = {  # plane: what column and row numbers must grow with, to the left, to the back, to the head
    frozenset({0, 1}): ((0, 1), (1, 1)),
    frozenset({0, 2}): ((0, 1), (2, -1)),
    frozenset({1, 2}): ((1, 1), (2, -1)),
}


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(range(3), 2)))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=2)))
def test_every_way_to_lie_is_turned_as_radiologists_look(first, second, signs):
    """Pixels that hold their own patient coordinates, tilted a little, must grow as LOOKS says."""
    across, down = np.full(3, 0.1), np.full(3, 0.1)
    across[first], down[second] = signs
    place = np.arange(4)[None, :, None] * across + np.arange(3)[:, None, None] * down  # (3, 4, 3)
    (column_axis, column_sign), (row_axis, row_sign) = LOOKS[frozenset({first, second})]
    columns = arranged(place[None, ..., column_axis], across, down)[0]
    rows = arranged(place[None, ..., row_axis], across, down)[0]
    assert (np.diff(columns, axis=1) * column_sign > 0).all()
    assert (np.diff(rows, axis=0) * row_sign > 0).all()


def test_orientation_of_dicom_files(tmp_path):
    upright = read_slice(dicom(tmp_path / "a.dcm")).image
    mirrored = read_slice(dicom(tmp_path / "b.dcm", VALUES[:, ::-1], ImageOrientationPatient=[-1, 0, 0, 0, 1, 0]))
    assert np.array_equal(mirrored.image, upright)
    lying = read_slice(dicom(tmp_path / "c.dcm", VALUES.T, ImageOrientationPatient=[0, 1, 0, 1, 0, 0]))
    assert np.array_equal(lying.image, upright)
    letters = {"ImageOrientationPatient": None, "PatientOrientation": ["R", "F"]}
    film = read_slice(dicom(tmp_path / "d.dcm", VALUES[:, ::-1], **letters))
    assert np.array_equal(film.image, upright) and not [note for note in film.notes if "as stored" in note]
    unknown = read_slice(dicom(tmp_path / "e.dcm", VALUES[:, ::-1], ImageOrientationPatient=None))
    assert np.array_equal(unknown.image, upright[..., ::-1])
    assert "shown as stored: the file does not say how the patient lies" in unknown.notes


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "ASL"])
def test_nifti_lies_as_nibabels_canonical_form(tmp_path, codes):
    random = np.random.default_rng(0)
    canonical = nibabel.Nifti1Image(random.normal(size=(5, 6, 7)).astype(np.float32), np.diag([1.0, 2, 3, 1]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(canonical.as_reoriented(turn), tmp_path / "a.nii.gz")
    for index in (0, 4):
        found = read_slice(tmp_path / "a.nii.gz", index, window=(-3, 3))
        wanted = ((canonical.get_fdata()[::-1, ::-1, index].T + 3) / 6).clip(0, 1)
        assert found.count == 7 and np.abs(found.image[0] - wanted).max() < 1e-6


def test_nifti_values_are_scaled_and_further_volumes_left(tmp_path):
    volume = nibabel.Nifti1Image(np.zeros((4, 4, 3, 2), np.int16), np.eye(4))
    data = np.arange(96, dtype=np.float32).reshape(4, 4, 3, 2) / 7
    volume = nibabel.Nifti1Image(data, np.eye(4))
    volume.set_data_dtype(np.int16)  # saved with a slope
    nibabel.save(volume, tmp_path / "a.nii")
    found = read_slice(tmp_path / "a.nii", 2, window=(0, 14))
    assert np.abs(found.image[0] - data[::-1, ::-1, 2, 0].T / 14).max() < 1e-3
    assert found.notes == ("the first volume of several",)


def test_fitted_is_stretched_and_has_the_channels_wanted():
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 4, 4)
    assert torch.equal(fitted(ramp, (1, 4, 4)), torch.from_numpy(ramp))
    assert torch.equal(fitted(ramp, (3, 4, 4)), torch.from_numpy(ramp).expand(3, -1, -1))
    colour = np.stack([ramp[0], ramp[0] * 0, ramp[0] * 0])
    assert torch.allclose(fitted(colour, (1, 4, 4)), 0.299 * torch.from_numpy(ramp))
    assert fitted(ramp, (1, 2, 8)).shape == (1, 2, 8)


def test_explaining_from_the_command_line_reads_them_too(tmp_path):
    path = dicom(tmp_path / "a.dcm", WindowCenter=55, WindowWidth=111)
    assert is_medical(path)
    assert torch.equal(image_for(path, (1, 3, 4)), torch.from_numpy(read_slice(path).image))


def test_other_and_broken_files_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert not is_medical(tmp_path / "a.png")
    with pytest.raises(CorruptImageError, match=r"a\.png: expected a DICOM or NIfTI file, got another kind"):
        read_slice(tmp_path / "a.png")
    whole = dicom(tmp_path / "b.dcm").read_bytes()
    (tmp_path / "c.dcm").write_bytes(whole[:-10])
    with pytest.raises(CorruptImageError, match=r"c\.dcm: expected a readable DICOM file"):
        read_slice(tmp_path / "c.dcm")
    (tmp_path / "d.nii").write_bytes(b"\x5c\x01\0\0" + bytes(400))
    with pytest.raises(CorruptImageError, match=r"d\.nii: expected a readable NIfTI file"):
        read_slice(tmp_path / "d.nii")
    no_picture = Dataset()
    no_picture.file_meta = FileMetaDataset()
    no_picture.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    no_picture.file_meta.MediaStorageSOPClassUID = no_picture.SOPClassUID = MRImageStorage
    no_picture.file_meta.MediaStorageSOPInstanceUID = no_picture.SOPInstanceUID = generate_uid()
    no_picture.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    with pytest.raises(CorruptImageError, match="expected a DICOM file with a picture, got one without"):
        read_slice(tmp_path / "e.dcm")


def test_what_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    from pydicom.data import get_testdata_file

    with pytest.raises(CorruptImageError, match="expected another form than deflated DICOM"):
        read_slice(medical.Path(get_testdata_file("image_dfl.dcm", download=False)))
    monkeypatch.setattr(medical, "MOST_PIXELS", 11)
    with pytest.raises(CorruptImageError, match="got 12 and 1; cut it"):
        read_slice(dicom(tmp_path / "a.dcm"))
    monkeypatch.setattr(medical, "MOST_PIXELS", 100)
    monkeypatch.setattr(medical, "MOST_SLICES", 2)
    with pytest.raises(CorruptImageError, match="got 12 and 3; cut it"):
        read_slice(dicom(tmp_path / "b.dcm", np.stack([VALUES] * 3)))
    monkeypatch.setattr(medical, "MOST_BYTES", 2000)
    volume = nibabel.Nifti1Image(np.zeros((8, 8, 8), np.float32), np.eye(4)).to_bytes()
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(volume))
    with pytest.raises(CorruptImageError, match="got more when decompressed"):
        read_slice(tmp_path / "c.nii.gz")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    import sys

    path = dicom(tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match=r"pip install -e '.\[medical\]'"):
        read_slice(path)
