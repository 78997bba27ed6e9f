"""One stated rule decides which CT series of a folder is read; what it cannot decide is asked, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicomfiles import small_ct, write_dicom
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, UnreadableInputError
from EmphysemaScannerLib.ct.provenance import Provenance
from EmphysemaScannerLib.ct.reading import ct_series, read_ct

PATIENT = {"PatientID": "P1", "PatientName": "SECRET^ONE"}


def add(top: Path, name: str, slices: int = 24, apart_mm: float = 5.0, **changes: object) -> list[Path]:
    """A series in a folder of its own, called by the folder's name."""
    changes = {**PATIENT, "SeriesDescription": name, **changes}
    return write_dicom(top / name, small_ct(slices, apart_mm), **changes)


def read(top: Path, series: str = "") -> str:
    """The description of the series that is read."""
    found = read_ct(top, series).provenance.series
    assert found is not None
    return found.description


def sentence(path: Path, series: str = "") -> str:
    with pytest.raises(EmphysemaScannerError) as caught:
        read_ct(path, series)
    assert "SECRET" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MINIP"]},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        {"ImageType": ["ORIGINAL", "SECONDARY", "AXIAL"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 MIP"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SeriesDescription": "Thorax MinIP 8 mm"},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SeriesDescription": "THORAX_MIP"},
        {"ImageType": None, "SeriesDescription": "Average 10 mm"},
        {"ImageType": None, "SeriesDescription": "Thorax MPR ax"},
        {"RescaleType": "MGML"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    ],
)
def test_an_original_series_comes_before_a_derived_one_with_more_slices(tmp_path: Path, changes: dict) -> None:
    add(tmp_path, "original")
    add(tmp_path, "more", 30, **changes)
    ct = read_ct(tmp_path)
    assert ct.provenance.series is not None
    assert ct.provenance.series.description == "original"
    (left,) = ct.provenance.left_out
    assert (left.files, ct.provenance.warnings) == (30, ())
    assert "30 slices" in left.what


@pytest.mark.parametrize("description", ["Thorax Lymph", "Empirical", "Chest simple", "Main series", "Recon Ave Maria"])
def test_words_that_only_contain_those_of_projections_make_no_derived_series(tmp_path: Path, description: str) -> None:
    add(tmp_path, "fewer")
    add(tmp_path, "more", 30, SeriesDescription=description)
    assert read(tmp_path) == description


def test_a_derived_series_is_read_where_it_is_alone_with_a_warning(tmp_path: Path) -> None:
    add(tmp_path, "minip", ImageType=["DERIVED", "SECONDARY", "AXIAL", "MINIP"])
    provenance = read_ct(tmp_path).provenance
    assert len(provenance.warnings) == 1
    assert "not an original CT" in provenance.warnings[0]
    assert "MINIP" in provenance.warnings[0]


def test_an_axial_series_comes_before_reformats_with_more_slices(tmp_path: Path) -> None:
    add(tmp_path, "axial")
    for name, axes in (("coronal", [1, 0, 0, 0, 0, -1]), ("sagittal", [0, 1, 0, 0, 0, -1])):
        way = 1 if name == "coronal" else 0
        add(
            tmp_path, name, 40, ImageOrientationPatient=axes,
            ImagePositionPatient=lambda k, way=way: [5.0 * k * (i == way) for i in range(3)],
        )  # fmt: skip
    assert read(tmp_path) == "axial"
    assert [o.reason for o in read_ct(tmp_path).provenance.left_out] == ["not axial", "not axial"]


def test_a_series_of_a_tilted_gantry_counts_as_axial(tmp_path: Path) -> None:
    tilted = [1, 0, 0, 0, 0.8660254, -0.5]
    add(
        tmp_path, "tilted", 30, ImageOrientationPatient=tilted, ImagePositionPatient=lambda k: [0, 2.5 * k, 4.33013 * k]
    )
    add(tmp_path, "fewer")
    assert read(tmp_path) == "tilted"


@pytest.mark.parametrize(("part", "chosen"), [((100, 1.0), "whole"), ((100, 2.0), "thin")])
def test_a_part_of_the_chest_does_not_stand_for_the_whole_however_many_slices_it_has(
    tmp_path: Path, part: tuple[int, float], chosen: str
) -> None:
    """The whole is 200 mm; 100 mm is a part, 200 mm is not."""
    add(tmp_path, "whole", 40)
    add(tmp_path, "thin", *part)
    assert read(tmp_path) == chosen


def test_a_body_of_a_metre_is_no_reason_to_pass_over_the_chest(tmp_path: Path) -> None:
    add(tmp_path, "body", 200)
    add(tmp_path, "chest", 300, 1.0)
    assert read(tmp_path) == "chest"


def test_what_cannot_be_a_chest_is_passed_over_though_it_is_original(tmp_path: Path) -> None:
    add(tmp_path, "bolus tracking", 19)
    add(tmp_path, "chest", 40, ImageType=["DERIVED", "PRIMARY", "AXIAL"])
    assert read(tmp_path) == "chest"


@pytest.mark.parametrize(("fewer", "is_asked"), [(40, True), (36, True), (35, False)])
def test_series_with_nearly_as_many_slices_are_equally_good(tmp_path: Path, fewer: int, is_asked: bool) -> None:
    add(tmp_path, "inspiration", 40, SeriesNumber=2, ConvolutionKernel="B30f")
    add(tmp_path, "expiration", fewer, SeriesNumber=3, ConvolutionKernel=["Br40f", "3"])
    if not is_asked:
        assert read(tmp_path) == "inspiration"
        return
    said = sentence(tmp_path)
    assert "2 equally good CT series" in said
    assert "series 2 'inspiration', kernel B30f, 40 slices (file 'inspiration/0000.dcm')" in said
    assert f"series 3 'expiration', kernel Br40f 3, {fewer} slices (file 'expiration/0000.dcm')" in said


@pytest.mark.parametrize(
    "other",
    [
        {"PatientID": "P2"},
        {"PatientID": "P2", "PatientName": "SECRET^ONE"},
        {"PatientID": "", "PatientName": "SECRET^TWO"},
        {"PatientBirthDate": "19500101"},
        {"PatientName": "SECRET^TWO"},
    ],
)
def test_two_patients_in_a_folder_are_refused_however_unlike_their_series_are(tmp_path: Path, other: dict) -> None:
    add(tmp_path, "a", PatientBirthDate="19400101")
    add(tmp_path, "b", 60, **{"PatientBirthDate": "19400101", **other})
    said = sentence(tmp_path)
    assert "CTs of two patients" in said
    assert "'a', 24 slices" in said
    assert "'b', 60 slices" in said


@pytest.mark.parametrize("name", ["secret^one", "SECRET^ONE^^", "Secret One", "SECRET^ONE=IDEOGRAM"])
def test_a_name_that_is_only_written_differently_is_the_same_patient(tmp_path: Path, name: str) -> None:
    add(tmp_path, "a")
    add(tmp_path, "b", 60, PatientName=name)
    assert read(tmp_path) == "b"


def test_studies_that_name_no_patient_may_be_of_two(tmp_path: Path) -> None:
    nobody = {"PatientID": "", "PatientName": ""}
    add(tmp_path, "a", **nobody, StudyInstanceUID="1.1")
    add(tmp_path, "b", 60, **nobody, StudyInstanceUID="1.2")
    assert "perhaps of two patients" in sentence(tmp_path)


def test_series_of_one_study_that_names_no_patient_are_of_one(tmp_path: Path) -> None:
    nobody = {"PatientID": "", "PatientName": ""}
    add(tmp_path, "a", **nobody)
    add(tmp_path, "b", 60, **nobody)
    assert read(tmp_path) == "b"


def test_an_image_of_another_patient_that_is_no_chest_is_left_out_like_any_other(tmp_path: Path) -> None:
    add(tmp_path, "chest")
    add(tmp_path, "stray", 1, PatientID="P2")
    assert read(tmp_path) == "chest"


def test_the_user_chooses_by_number_uid_or_description(tmp_path: Path) -> None:
    add(tmp_path, "Lung B70f", SeriesNumber=2, SeriesInstanceUID="1.2.1")
    add(tmp_path, "Soft B30f", SeriesNumber=3, SeriesInstanceUID="1.2.2")
    for wanted in ("3", "1.2.2", "Soft B30f", "soft b30F", " b30f "):
        assert read(tmp_path, wanted) == "Soft B30f"
    assert read_ct(tmp_path, "3").provenance.left_out[0].reason == "another series was chosen"


def test_a_derived_series_or_one_of_two_patients_can_be_chosen(tmp_path: Path) -> None:
    add(tmp_path, "a", SeriesNumber=2)
    add(tmp_path, "b", 30, SeriesNumber=3, PatientID="P2", ImageType=["DERIVED", "SECONDARY"])
    assert read(tmp_path, "3") == "b"


@pytest.mark.parametrize("wanted", ["9", "B", "nothing", "1.2"])
def test_a_choice_that_fits_none_or_several_lists_what_there_is(tmp_path: Path, wanted: str) -> None:
    add(tmp_path, "Lung B70f", SeriesNumber=2)
    add(tmp_path, "Soft B30f", SeriesNumber=3)
    said = sentence(tmp_path, wanted)
    assert "series 2 'Lung B70f', 24 slices" in said
    assert "series 3 'Soft B30f', 24 slices" in said


def test_a_choice_makes_no_sense_for_a_single_file(tmp_path: Path) -> None:
    assert "chooses its series" in sentence(add(tmp_path, "a")[0], "2")


def test_what_was_read_is_stated_in_the_provenance(tmp_path: Path) -> None:
    add(tmp_path, "a", SeriesNumber=7, ConvolutionKernel="FC08", SliceThickness=6)
    found = read_ct(tmp_path).provenance
    assert isinstance(found, Provenance)
    assert found.series is not None
    assert (found.series.number, found.series.kernel, found.series.slices) == ("7", "FC08", 24)
    assert found.series.image_type == "ORIGINAL\\PRIMARY\\AXIAL"
    assert (found.slice_thickness_mm, found.left_out, found.warnings) == (6, (), ())


def test_what_is_left_out_comes_largest_first_with_file_counts(tmp_path: Path) -> None:
    add(tmp_path, "a", 60)
    add(tmp_path, "few", 24, SeriesNumber=4)
    add(tmp_path, "pet", 30, Modality="PT")
    add(tmp_path, "scout", 2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "readme.txt").write_text("x")
    left = read_ct(tmp_path).provenance.left_out
    assert [(o.what, o.files) for o in left] == [
        ("modality PT", 30), ("series 4 'few', 24 slices", 24), ("localizer", 2), ("other file", 1)
    ]  # fmt: skip


def test_a_batch_gets_the_series_of_each_study_that_the_rule_leaves(tmp_path: Path) -> None:
    add(tmp_path, "one", 30, StudyInstanceUID="1.1")
    add(tmp_path, "minip", 40, StudyInstanceUID="1.1", ImageType=["DERIVED", "SECONDARY", "AXIAL", "MINIP"])
    sharp = add(tmp_path, "two", 30, StudyInstanceUID="1.2")
    smooth = write_dicom(
        tmp_path / "two", small_ct(30), [f"s{k}" for k in range(30)], **PATIENT, StudyInstanceUID="1.2"
    )
    found = ct_series(tmp_path.rglob("*"))
    assert found == sorted([tmp_path / "one", sharp[0], smooth[0]])


def test_an_image_file_has_no_series_to_choose(tmp_path: Path) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(small_ct(), str(tmp_path / "a.nrrd"))
    with pytest.raises(UnreadableInputError, match="single image"):
        read_ct(tmp_path / "a.nrrd", "2")
