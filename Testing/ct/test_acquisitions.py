"""Slices of several acquisitions, phases or reconstructions under one SeriesInstanceUID are never interleaved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicomfiles import small_ct, write_dicom
from EmphysemaScannerLib.base.errors import EmphysemaScannerError
from EmphysemaScannerLib.ct.reading import CT, ct_series, read_ct

UID, SLICES, APART = "1.2.3.4", 24, 5.0


def one_volume(folder: Path, **changes: object) -> list[Path]:
    return write_dicom(folder, small_ct(), **{"SeriesInstanceUID": UID, **changes})


def first_and_second(
    folder: Path, shift_mm: float = 2.5, second: int = SLICES, **changes: Sequence[object]
) -> list[Path]:
    """Two volumes of one series, the second one shifted up, with another value of each attribute, or of each slice's.

    Its HU are those of the first and 1000 more.
    """
    paths = []
    for k, (letter, count) in enumerate((("a", SLICES), ("b", second))):
        image = small_ct(count) + 1000 * k
        image.SetSpacing((0.8, 0.7, APART))
        image.SetOrigin((-10, -20, -300 + shift_mm * k))
        own = {name: values[k] for name, values in changes.items()}
        names = [f"{letter}{i:02}.dcm" for i in range(count)]
        paths += write_dicom(folder, image, names, **{"SeriesInstanceUID": UID, "SeriesNumber": 2, **own})
    return paths


def assert_is_first(ct: CT) -> None:
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ct.image), sitk.GetArrayFromImage(small_ct()))
    assert ct.image.GetOrigin()[2] == pytest.approx(-300)
    assert ct.image.GetSpacing()[2] == pytest.approx(APART)


def times(start: int, step: float = 0.5) -> Callable[[int], str]:
    """Seconds after ten o'clock, later with every slice."""
    return lambda k: f"10{(start + int(step * k)) // 60:02}{(start + step * k) % 60:06.3f}"


TELLING = [
    {"AcquisitionNumber": (1, 2)},
    {"AcquisitionNumber": (4, 3)},
    {"AcquisitionTime": ("100000.1", "100010.5")},
    {"AcquisitionTime": (times(0), times(20))},
    {"AcquisitionTime": (times(0), times(40, -0.5))},
    {"AcquisitionDateTime": ("20260101100000", "20260101100010")},
    {"ContentTime": (times(0), times(20))},
    {"AcquisitionNumber": (lambda k: 1 + k, lambda k: 101 + k)},
    {"AcquisitionNumber": (lambda k: 1 + k // 4, lambda k: 7 + k // 4)},
    {"TemporalPositionIdentifier": (1, 2)},
    {"TriggerTime": (0, 400)},
    {"EchoNumbers": (1, 2)},
    {"KVP": (80, 140)},
    {"ConvolutionKernel": ("B30f", "B70f")},
    {"SliceThickness": (5, 1)},
    {"ImageType": (["ORIGINAL", "PRIMARY", "AXIAL", "A"], ["ORIGINAL", "PRIMARY", "AXIAL", "B"])},
    {"InstanceNumber": (lambda k: 1 + k, lambda k: 101 + k)},
    {"InstanceNumber": (lambda k: 100 - k, lambda k: 200 - k)},
    {"SeriesNumber": (2, 3)},
]


@pytest.mark.parametrize("shift_mm", [0, 0.5, 2.5])
@pytest.mark.parametrize("changes", TELLING, ids=lambda c: next(iter(c)))
def test_two_volumes_of_a_series_are_told_apart(tmp_path: Path, changes: dict, shift_mm: float) -> None:
    paths = first_and_second(tmp_path, shift_mm, **changes)
    with pytest.raises(EmphysemaScannerError, match=r"2 equally good CT series.*24 slices.*24 slices"):
        read_ct(tmp_path)
    assert_is_first(read_ct(paths[5]))
    assert len(ct_series(tmp_path.iterdir())) == 2


def test_acquisitions_are_named_and_chosen_by_their_number(tmp_path: Path) -> None:
    first_and_second(tmp_path, AcquisitionNumber=(3, 5))
    with pytest.raises(EmphysemaScannerError, match=r"series 2.3 .*acquisition 3.*series 2.5 .*acquisition 5"):
        read_ct(tmp_path)
    ct = read_ct(tmp_path, "2.3")
    assert_is_first(ct)
    assert ct.provenance.series is not None
    assert ct.provenance.series.acquisition == "3"
    assert [(o.files, o.reason) for o in ct.provenance.left_out] == [(24, "another series was chosen")]


def test_a_short_second_acquisition_is_left_out(tmp_path: Path) -> None:
    first_and_second(tmp_path, second=6, AcquisitionNumber=(1, 2))
    ct = read_ct(tmp_path)
    assert_is_first(ct)
    assert [o.files for o in ct.provenance.left_out] == [6]


def test_images_of_one_place_taken_before_the_scan_are_left_out(tmp_path: Path) -> None:
    one_volume(tmp_path, AcquisitionNumber=2, AcquisitionTime=times(100))
    image = small_ct(8)
    write_dicom(
        tmp_path, image, [f"bolus{k}" for k in range(8)], SeriesInstanceUID=UID, AcquisitionNumber=1,
        AcquisitionTime=times(0), ImagePositionPatient=[-10, -20, -251],
    )  # fmt: skip
    ct = read_ct(tmp_path)
    assert_is_first(ct)
    assert sum(o.files for o in ct.provenance.left_out) == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"AcquisitionNumber": lambda k: k + 1},
        {"AcquisitionNumber": lambda k: 99 - k},
        {"AcquisitionNumber": lambda k: k // 4},
        {"AcquisitionNumber": lambda k: 1 + k % 2},  # two rows of a detector; the slices touch
        {"AcquisitionNumber": lambda k: [1, 2, 2, 1, 3, 1, 3][k % 7]},
        {"AcquisitionTime": times(0)},
        {"AcquisitionTime": times(100, -0.5)},
        {"AcquisitionTime": lambda k: f"1000{10 + k // 8}"},
        {"ContentTime": lambda k: f"1000{10 + (7 * k) % 24}"},  # written out of order
        {"ContentTime": lambda k: f"1000{10 + k + 20 * (k == 11)}"},
        {"InstanceNumber": lambda k: (5 * k) % 24},
        {"InstanceNumber": None},
        {"ImageType": lambda k: ["ORIGINAL", "PRIMARY", "AXIAL", f"SPI {k % 3}"]},
        {"SliceThickness": lambda k: 5 + 0.001 * (k % 2)},
        {"KVP": lambda k: 120 if k < 12 else 100},
        {"StudyInstanceUID": lambda k: f"1.2.3.{k}"},
    ],
)
def test_slices_of_one_acquisition_stay_together(tmp_path: Path, changes: dict) -> None:
    one_volume(tmp_path, **changes)
    ct = read_ct(tmp_path)
    assert_is_first(ct)
    assert (ct.provenance.left_out, ct.provenance.warnings) == ((), ())


def test_a_reconstruction_with_other_pixels_is_told_apart(tmp_path: Path) -> None:
    first_and_second(tmp_path, 0, PixelSpacing=([0.7, 0.8], [0.5, 0.5]))
    with pytest.raises(EmphysemaScannerError, match="2 equally good"):
        read_ct(tmp_path)


def test_processed_copies_in_another_folder_are_told_apart(tmp_path: Path) -> None:
    one_volume(tmp_path / "a", SOPInstanceUID=lambda k: f"1.5.{k}")
    write_dicom(tmp_path / "b", small_ct() + 50, SeriesInstanceUID=UID, SOPInstanceUID=lambda k: f"1.5.{k}")
    with pytest.raises(EmphysemaScannerError, match="2 equally good"):
        read_ct(tmp_path)
    assert_is_first(read_ct(tmp_path / "a"))
    assert_is_first(read_ct(tmp_path / "a" / "0003.dcm"))


def test_images_of_one_place_that_nothing_tells_apart_are_refused_by_name(tmp_path: Path) -> None:
    first_and_second(tmp_path, 0, InstanceNumber=(None, None))
    with pytest.raises(EmphysemaScannerError, match=r"several images of the same place.*'a00.dcm' and 'b00.dcm'"):
        read_ct(tmp_path)


def test_reformats_under_the_uid_of_the_axial_series_are_told_apart(tmp_path: Path) -> None:
    one_volume(tmp_path)
    write_dicom(
        tmp_path, small_ct(40), [f"c{k}" for k in range(40)], SeriesInstanceUID=UID,
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1], ImagePositionPatient=lambda k: [0, 5 * k, 0],
    )  # fmt: skip
    ct = read_ct(tmp_path)
    assert_is_first(ct)
    assert [o.reason for o in ct.provenance.left_out] == ["not axial"]
