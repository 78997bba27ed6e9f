"""What the DICOM files of a CT that Slicer has loaded state: its series, and what the rule has against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicomfiles import write_dicom
from EmphysemaScannerLib.ct.provenance import UNKNOWN, Series
from EmphysemaScannerLib.ct.reading import provenance_of


def image(slices: int = 30) -> sitk.Image:
    found = sitk.GetImageFromArray(np.zeros((slices, 4, 4), np.int16))
    found.SetSpacing([1.0, 1.0, 5.0])
    return found


def test_the_series_is_named_by_what_its_files_state(tmp_path: Path) -> None:
    files = write_dicom(tmp_path, image(), SeriesNumber=4, ConvolutionKernel="B30f", PatientName="Doe^Jane")
    known = provenance_of(files)
    assert known.series == Series("4", "chest", "B30f", "ORIGINAL\\PRIMARY\\AXIAL", 30)
    assert known.slice_thickness_mm == 5.0
    assert known.warnings == ()
    assert "jane" not in str(known).lower()


def test_a_derived_series_is_a_warning_and_no_error(tmp_path: Path) -> None:
    files = write_dicom(tmp_path, image(), ImageType=["DERIVED", "SECONDARY", "AXIAL", "MINIP"])
    (warning,) = provenance_of(files).warnings
    assert warning == (
        "The series that was read is not an original CT: derived images (ImageType DERIVED\\SECONDARY\\AXIAL\\MINIP)."
    )


@pytest.mark.parametrize(("degrees", "named"), [(30, False), (40, True), (90, True)])
def test_slices_that_are_not_axial_are_a_warning(tmp_path: Path, degrees: int, named: bool) -> None:
    turned = image()
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned.SetDirection([1.0, 0.0, 0.0, 0.0, cosine, -sine, 0.0, sine, cosine])
    warnings = provenance_of(write_dicom(tmp_path, turned)).warnings
    assert warnings == (
        (f"The series that was read is not axial: its slices are {degrees} degrees from axial.",) * named
    )


def test_two_acquisitions_in_one_volume_are_named(tmp_path: Path) -> None:
    other = image(20)
    other.SetOrigin([0.0, 0.0, 2.5])
    files = write_dicom(tmp_path / "a", image(), SeriesInstanceUID="1.2.3", AcquisitionNumber=1, SeriesNumber=2)
    files += write_dicom(tmp_path / "b", other, SeriesInstanceUID="1.2.3", AcquisitionNumber=2, SeriesNumber=2)
    known = provenance_of(files)
    assert known.series == Series("2", "chest", "", "ORIGINAL\\PRIMARY\\AXIAL", 50)
    assert known.warnings == (
        "The CT mixes slices of 2 volumes: series 2.1 'chest', acquisition 1, 30 slices; series 2.2 'chest', "
        "acquisition 2, 20 slices. Load one of them by itself.",
    )


def test_files_that_are_no_slices_of_a_ct_tell_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no DICOM")
    files = write_dicom(tmp_path / "mr", image(), Modality="MR")
    assert provenance_of([tmp_path / "text.txt", tmp_path / "gone.dcm", *files]) == UNKNOWN
