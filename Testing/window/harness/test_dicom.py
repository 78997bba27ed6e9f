"""A CT that Slicer loaded from its DICOM database: the window names its series."""

from __future__ import annotations

import sys
import types
from html import unescape
from pathlib import Path

import pydicom
import pytest
import slicer
from dicomfiles import write_dicom
from EmphysemaScannerLib.scene.straighten import image_from_volume_node
from window.harness.driver import Driver, settle
from window.harness.pythonqt import plain


class Database:
    """What the window asks of Slicer's ctkDICOMDatabase."""

    isOpen = True

    def __init__(self, files: list[Path]) -> None:
        self.files = {str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID): file for file in files}

    def fileForInstance(self, uid: str) -> str:
        return str(self.files.get(uid, ""))

    def instancesForSeries(self, series: str) -> list[str]:
        headers = {uid: pydicom.dcmread(file, stop_before_pixels=True) for uid, file in self.files.items()}
        return [uid for uid, header in headers.items() if header.SeriesInstanceUID == series]

    def insert(self, path: str, store: bool) -> None:
        assert store  # a copy
        self.files[str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = Path(path)


def from_dicom(window: Driver, monkeypatch: pytest.MonkeyPatch, folder: Path, **attributes: object) -> Database:
    """A CT in the scene as Slicer's DICOM module leaves it."""
    ct = window.add_ct("2: Thorax")
    database = Database(write_dicom(folder, image_from_volume_node(ct), SeriesNumber=2, **attributes))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    ct.SetAttribute("DICOM.instanceUIDs", " ".join(database.files))
    window.choose(None)
    window.choose(ct)
    settle()
    return database


def test_the_series_of_the_chosen_ct_is_named_before_and_after_the_scan(
    window: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database = from_dicom(window, monkeypatch, tmp_path, ConvolutionKernel="B30f")
    slices = len(database.files)
    named = f"2 'chest', kernel B30f, image type ORIGINAL\\PRIMARY\\AXIAL, {slices} slices"
    assert window.shown("seriesLabel")
    assert window.ui.seriesLabel.text == f"Series: {named}"
    window.scan()
    assert named in unescape(window.ui.provenanceLabel.text)
    assert "original CT" not in window.ui.warningsLabel.text


def test_a_derived_series_is_scanned_with_a_warning_that_comes_first(
    window: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from_dicom(window, monkeypatch, tmp_path, ImageType=["DERIVED", "SECONDARY", "AXIAL", "MINIP"])
    assert "not an original CT: derived images" in window.ui.seriesLabel.text
    window.scan()
    assert "%" in window.ui.probabilityLabel.text
    plain(window.ui.warningsLabel, "linkActivated").emit("#")
    first = window.ui.warningsLabel.text.split("<br>")[1]  # after the title
    assert first.startswith("The series that was read is not an original CT: derived images")
    assert "original CT" not in window.ui.seriesLabel.text  # once is enough


def test_nothing_is_named_of_a_ct_from_another_file_or_from_another_database(
    window: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    window.add_ct()
    settle()
    assert not window.shown("seriesLabel")
    database = from_dicom(window, monkeypatch, tmp_path)
    assert window.shown("seriesLabel")
    database.files.popitem()
    chosen = window.parameters.inputVolume
    window.choose(None)
    assert not window.shown("seriesLabel")
    window.choose(chosen)
    assert not window.shown("seriesLabel")
    window.scan()
    assert "'chest'" not in unescape(window.ui.provenanceLabel.text)


def test_staggered_slices_that_slicer_loaded_without_a_transform_are_warned_of(
    window: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with the acquisition geometry regularization "none"."""

    def leaning(k: int) -> list[float]:
        return [-190.0, -190.0 + 1.0 * k, -148.0 + 4.0 * k]

    database = from_dicom(window, monkeypatch, tmp_path, ImagePositionPatient=leaning)
    slices = len(database.files)
    window.scan()
    plain(window.ui.warningsLabel, "linkActivated").emit("#")
    assert f"staggered by up to {slices - 1} mm in their DICOM files" in unescape(window.ui.warningsLabel.text)
    assert "sheared" in window.ui.warningsLabel.text


# -- DICOM objects ----------------------------------------------------------------------------------------------------

OBJECTS = ("saveSegmentationCheckBox", "saveMeasurementsCheckBox", "saveMapsCheckBox")
OTHERS = (
    "saveHtmlCheckBox",
    "savePdfCheckBox",
    "saveCsvCheckBox",
    "savePlotsCheckBox",
    "saveOverlaysCheckBox",
    "saveSceneCheckBox",
)


def save_objects(window: Driver, folder: Path) -> str:
    """Tick only DICOM objects and press Save; what the window answers."""
    window.ui.saveFolderPathLineEdit.currentPath = str(folder)
    for box in OTHERS:
        getattr(window.ui, box).checked = False
    for box in OBJECTS:
        getattr(window.ui, box).checked = True
    window.press("saveButton")
    return str(window.ui.saveStatusLabel.text)


def test_ticked_dicom_objects_are_saved_and_join_the_study(
    window: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = {"FrameOfReferenceUID": "1.2.3.4", "PatientID": "PID-1", "StudyDate": "20250102"}
    database = from_dicom(window, monkeypatch, tmp_path / "ct", **study)
    window.scan()
    said = save_objects(window, tmp_path / "out")
    assert "Saved to" in said
    assert said.endswith("3 DICOM objects are in Slicer's DICOM database.")
    found = [pydicom.dcmread(path) for path in sorted((tmp_path / "out/dicom").glob("*.dcm"))]
    assert [file.Modality for file in found] == ["OT", "SR", "SEG"]
    assert {file.PatientID for file in found} == {"PID-1"}
    referred = {
        item.ReferencedSOPInstanceUID
        for frame in found[2].PerFrameFunctionalGroupsSequence
        for item in frame.DerivationImageSequence[0].SourceImageSequence
    }
    assert referred <= database.files.keys()
    assert len(referred) > len(database.files) / 2
    assert {file.SOPInstanceUID for file in found} <= database.files.keys()  # the study has them in the browser


def test_a_database_that_does_not_take_an_object_is_named_beside_what_was_saved(
    window: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database = from_dicom(window, monkeypatch, tmp_path / "ct", FrameOfReferenceUID="1.2.3.4")
    monkeypatch.setattr(database, "insert", lambda *_: None)
    window.scan()
    said = save_objects(window, tmp_path / "out")
    assert "Saved to" in said
    assert "database did not take" in said
    assert list((tmp_path / "out/dicom").glob("*.dcm"))


def test_dicom_objects_are_kept_out_of_the_database_where_that_is_not_ticked(
    window: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database = from_dicom(window, monkeypatch, tmp_path / "ct", FrameOfReferenceUID="1.2.3.4")
    slices = len(database.files)
    window.scan()
    window.ui.saveToDatabaseCheckBox.checked = False
    assert "Saved to" in save_objects(window, tmp_path / "out")
    assert len(database.files) == slices


def test_a_series_of_the_database_is_scanned_by_its_uid(
    window: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database = from_dicom(window, monkeypatch, tmp_path / "ct")
    ct, logic = window.parameters.inputVolume, slicer.util.getModuleLogic("EmphysemaScanner")
    series = str(pydicom.dcmread(next(iter(database.files.values()))).SeriesInstanceUID)
    asked: list[list[str]] = []

    def load(series: list[str]) -> list[str]:
        asked.append(series)
        return [ct.GetID()] if len(asked) == 1 else []

    utils = types.SimpleNamespace(loadSeriesByUID=load)
    monkeypatch.setitem(sys.modules, "DICOMLib", types.SimpleNamespace(DICOMUtils=utils))
    refused = window.module("window.dicomdatabase").DatabaseError  # as loaded now: other tests reload the module
    result = logic.scan(series)  # it is in the scene
    assert result.provenance.series.number == "2"
    assert asked == []
    ct.SetAttribute("DICOM.instanceUIDs", "")
    assert logic.load(series) is ct
    with pytest.raises(refused, match=f"loads 0 volumes from the series {series}"):
        logic.load(series)
    with pytest.raises(refused, match=r"holds no series 1\.2\.9"):
        logic.scan("1.2.9")
    monkeypatch.setattr(slicer, "dicomDatabase", None)
    with pytest.raises(refused, match="is not open"):
        logic.scan(series)


def test_dicom_objects_of_a_ct_that_was_not_loaded_from_dicom_are_refused_in_a_sentence(
    window: Driver, tmp_path: Path
) -> None:
    window.add_ct()
    window.scan()
    said = save_objects(window, tmp_path / "out")
    assert "only for a CT that was read from DICOM files" in said
    assert not (tmp_path / "out").exists()


def test_dicom_objects_of_a_ct_whose_voxels_were_changed_in_the_scene_are_refused(
    window: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from_dicom(window, monkeypatch, tmp_path / "ct", FrameOfReferenceUID="1.2.3.4")
    slicer.util.arrayFromVolume(window.parameters.inputVolume)[10] += 5
    window.scan()
    said = save_objects(window, tmp_path / "out")
    assert "the voxels are not those that were scanned" in said
    assert list(tmp_path.iterdir()) == [tmp_path / "ct"]
