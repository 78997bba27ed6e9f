"""What is written for the archive is what was found: voxel for voxel, figure for figure, in the CT's own study."""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import archivedct
import highdicom as hd
import numpy as np
import pydicom
import pypdf
import pytest
from EmphysemaScannerLib.archive.kinds import ObjectKind
from EmphysemaScannerLib.archive.writing import write_objects
from EmphysemaScannerLib.ct.grid import area_average, canonical_view
from EmphysemaScannerLib.ct.reading import CT
from EmphysemaScannerLib.ct.series import Volume
from EmphysemaScannerLib.lungs.measurements import Clusters, Distribution, Measurements
from EmphysemaScannerLib.lungs.measures import (
    CLUSTER_MEASURES,
    DISTRIBUTION_MEASURES,
    LUNG_MEASURES,
    LungMeasure,
    Measured,
)
from EmphysemaScannerLib.lungs.regions import LOBES, MaskKind, Origin, Recognition
from EmphysemaScannerLib.report import wording
from EmphysemaScannerLib.report.measured import region_name
from EmphysemaScannerLib.scan.result import ScanResult
from pydicom.dataset import Dataset

MakeResult = Callable[..., ScanResult]
FILES = {
    *("segmentation.dcm", "measurements.dcm", "disease_map.dcm", "evidence.dcm"),
    *("report.dcm", "report_page_1.dcm", "report_page_2.dcm"),
}
WARNING = "The slices are 5.0 mm thick (above 3 mm)."
STUDY_ATTRIBUTES = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyDescription", "StudyID", "AccessionNumber"),
    "ReferringPhysicianName",
)


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> CT:
    folder = tmp_path_factory.mktemp("series")
    archivedct.turned_series(folder)
    return archivedct.read(folder)


@pytest.fixture(scope="module")
def result(ct: CT, make_result: MakeResult) -> ScanResult:
    result = archivedct.result_on(ct, make_result(warnings=(WARNING,)))
    region = result.densitometry["left"]
    clusters = Clusters(1.7, 12, (3.5, 1.25), 2.5, 2, np.array([1.0]), np.array([12]))
    further = Measurements(
        parts={"core": region, "left_upper": region, "upper_half": region},
        clusters={"whole": clusters, "left": clusters},
        distribution=Distribution(1.1, 1.2, 0.75, 3, 120.0),
    )
    return dataclasses.replace(result, measurements=further)


@pytest.fixture(scope="module")
def folder(ct: CT, result: ScanResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("objects")
    write_objects(result, volume(ct), out)
    return out


def volume(ct: CT) -> Volume:
    assert ct.volume is not None
    return ct.volume


def segments(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """The mask of each segment on each source slice, by label and by SOPInstanceUID, read by highdicom."""
    seg = hd.seg.segread(path)
    sources = [str(uid) for _, _, uid in seg.get_source_image_uids()]
    labels = [seg.get_segment_description(n).segment_label for n in seg.segment_numbers]
    frames = seg.get_pixels_by_source_instance(
        sources, assert_missing_frames_are_empty=True, ignore_spatial_locations=True
    )
    return {label: {uid: frames[k, :, :, n] for k, uid in enumerate(sources)} for n, label in enumerate(labels)}


def items(dataset: Dataset) -> Iterator[Dataset]:
    """All content items of a report."""
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from items(item)


def named(parent: Dataset, meaning: str) -> list[Dataset]:
    return [i for i in items(parent) if i.ConceptNameCodeSequence[0].CodeMeaning == meaning]


@pytest.mark.parametrize("write", [archivedct.write_series, archivedct.turned_series, archivedct.tilted_series])
def test_each_segment_is_the_results_mask_voxel_for_voxel_on_the_slices_of_the_files(
    write: Callable[[Path], object], make_result: MakeResult, tmp_path: Path
) -> None:
    write(tmp_path / "ct")
    ct = archivedct.read(tmp_path / "ct")
    result = archivedct.result_on(ct, make_result())
    write_objects(result, volume(ct), tmp_path / "out", frozenset({ObjectKind.SEGMENTATION}))
    found = segments(tmp_path / "out/segmentation.dcm")
    labels = archivedct.mask_on(ct, result.lung_mask.values, result.lung_mask.grid)
    assert result.disease
    marked = archivedct.mask_on(ct, (result.disease.values >= archivedct.FLOOR).astype(np.uint8), result.disease.grid)
    wanted = {
        "Right lung": {uid: mask == 1 for uid, mask in labels.items()},
        "Left lung": {uid: mask == 2 for uid, mask in labels.items()},
        "Disease map at or above 0.30": {uid: (mask > 0) & (marked[uid] > 0) for uid, mask in labels.items()},
    }
    assert found.keys() == wanted.keys()
    for label, slices in wanted.items():
        assert sum(int(mask.sum()) for mask in slices.values()) > 200
        for uid, mask in slices.items():
            there = found[label].get(uid, np.zeros_like(mask))  # a slice without any voxel has no frame
            assert np.array_equal(there > 0, mask), (label, uid)


def test_lungs_and_disease_are_coded_in_snomed_ct(folder: Path) -> None:
    seg = hd.seg.segread(folder / "segmentation.dcm")
    coded = [
        (item.SegmentedPropertyTypeCodeSequence[0], item.SegmentedPropertyCategoryCodeSequence[0].CodeValue)
        for item in seg.SegmentSequence
    ]
    assert {item.CodingSchemeDesignator for item, _ in coded} == {"SCT"}
    assert [(item.CodeValue, category) for item, category in coded] == [
        ("39607008", "91723000"),
        ("39607008", "91723000"),
        ("87433001", "49755003"),
    ]
    sides = [item.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue for item, _ in coded[:2]]
    assert sides == ["24028007", "7771000"]


def test_the_report_states_every_figure_with_its_unit_and_refers_to_slices_and_segments(
    folder: Path, ct: CT, result: ScanResult
) -> None:
    report = hd.sr.srread(folder / "measurements.dcm")
    groups = hd.sr.MeasurementReport.from_sequence([report]).get_image_measurement_groups()
    assert groups
    answer = next(g for g in named(report, "Measurement Group") if named(g, "Call for emphysema"))
    figure = named(answer, "Probability of emphysema")[0].MeasuredValueSequence[0]
    assert float(figure.NumericValue) == pytest.approx(result.probability, rel=1e-6)
    assert figure.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert float(named(answer, "Operating point")[0].MeasuredValueSequence[0].NumericValue) == 0.47
    call = named(answer, "Call for emphysema")[0].ConceptCodeSequence[0].CodeMeaning
    assert call == {"positive": "Positive", "negative": "Negative", "none": "Undetermined"}[result.call.value]
    assert [item.TextValue for item in named(answer, "Image quality warning")] == [WARNING]
    assert wording.RESEARCH_USE in [item.TextValue for item in named(answer, "Caution")]
    assert named(report, "Algorithm Name")[0].TextValue == "EmphysemaScanner"
    assert any("ab" * 32 in item.TextValue for item in named(report, "Algorithm Parameters"))

    by_region = {named(g, "Tracking Identifier")[0].TextValue: g for g in named(report, "Measurement Group")}
    further = result.measurements
    for name, region in {**result.densitometry, **further.parts}.items():
        wanted = _finite(region, LUNG_MEASURES)
        wanted += _finite(further.clusters[name], CLUSTER_MEASURES) if name in further.clusters else []
        wanted += _finite(further.distribution, DISTRIBUTION_MEASURES) if name == "whole" else []
        wanted += [(4.25, "%")] if name in result.densitometry else []
        values = _figures(by_region[region_name(name)])
        assert [unit.CodeValue for _, _, unit in values] == [unit for _, unit in wanted]
        assert [value for _, value, _ in values] == pytest.approx([value for value, _ in wanted], rel=1e-6)
        assert {unit.CodingSchemeDesignator for _, _, unit in values} == {"UCUM"}
        assert all(len(code.CodeValue) <= 16 and len(code.CodeMeaning) <= 64 for code, _, _ in values)
    whole = [code.CodeMeaning for code, _, _ in _figures(by_region["Both lungs"])]
    assert {"Cluster exponent D", "Core to rind", "15th percentile of density at a volume of 6 L"} <= set(whole)

    seg = pydicom.dcmread(folder / "segmentation.dcm", stop_before_pixels=True)
    referred = {
        str(sop.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    assert referred == {seg.SOPInstanceUID, *(s.instance for s in volume(ct).slices)}
    segment = named(by_region["Left lung"], "Referenced Segment")[0].ReferencedSOPSequence[0]
    assert (segment.ReferencedSOPInstanceUID, segment.ReferencedSegmentNumber) == (seg.SOPInstanceUID, 2)


def _finite(region: Measured, measures: tuple[LungMeasure, ...]) -> list[tuple[float, str]]:
    """The figures that there are, with their units in UCUM."""
    units = {"HU": "[hnsf'U]", "L": "l", "mL": "ml", "g/L": "g/l", "": "1"}
    return [(m.of(region), units.get(m.unit, m.unit)) for m in measures if np.isfinite(m.of(region))]


def _figures(group: Dataset) -> list[tuple[Dataset, float, Dataset]]:
    """Name, value and unit of each."""
    return [
        (i.ConceptNameCodeSequence[0], float(value.NumericValue), value.MeasurementUnitsCodeSequence[0])
        for i in items(group)
        if i.ValueType == "NUM"
        for value in i.MeasuredValueSequence
    ]


def test_lobes_that_were_given_are_segments_and_their_figures_refer_to_them(
    ct: CT, make_result: MakeResult, tmp_path: Path
) -> None:
    result = archivedct.with_lobes(archivedct.result_on(ct, make_result()))
    write_objects(result, volume(ct), tmp_path, frozenset({ObjectKind.SEGMENTATION, ObjectKind.MEASUREMENTS}))
    found = segments(tmp_path / "segmentation.dcm")
    assert result.lobe_mask
    labels = archivedct.mask_on(ct, result.lobe_mask.values, result.lobe_mask.grid)
    for lobe in LOBES:
        frames = found[wording.REGION_NAMES[lobe.value]]
        assert sum(int(mask.sum()) for mask in frames.values()) > 100
        for uid, mask in labels.items():
            assert np.array_equal(frames.get(uid, np.zeros_like(mask)) > 0, mask == lobe.lobe), (lobe, uid)
    seg = pydicom.dcmread(tmp_path / "segmentation.dcm", stop_before_pixels=True)
    lobes = seg.SegmentSequence[2:7]
    assert [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in lobes] == [
        *("45653009", "72481006", "90572001", "45653009", "90572001")  # of SNOMED CT: upper, middle, lower
    ]
    assert {item.SegmentAlgorithmType for item in lobes} == {"SEMIAUTOMATIC"}
    assert {item.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName for item in lobes} == {
        "Lobes given by the user (file)"
    }
    report = hd.sr.srread(tmp_path / "measurements.dcm")
    by_region = {named(g, "Tracking Identifier")[0].TextValue: g for g in named(report, "Measurement Group")}
    for number, lobe in enumerate(LOBES, start=3):
        group = by_region[wording.REGION_NAMES[lobe.value]]
        (segment,) = named(group, "Referenced Segment")[0].ReferencedSOPSequence
        assert segment.ReferencedSegmentNumber == number
    without = archivedct.result_on(ct, make_result())
    write_objects(without, volume(ct), tmp_path / "without", frozenset({ObjectKind.SEGMENTATION}))
    other = pydicom.dcmread(tmp_path / "without/segmentation.dcm", stop_before_pixels=True)
    assert other.SOPInstanceUID != seg.SOPInstanceUID


@pytest.mark.parametrize("name", ["disease_map", "evidence"])
def test_a_parametric_map_holds_the_values_where_they_lie(folder: Path, result: ScanResult, name: str) -> None:
    found = pydicom.dcmread(folder / f"{name}.dcm")
    overlay = result.disease if name == "disease_map" else result.evidence
    assert overlay
    wanted = overlay.values
    if name == "disease_map":
        share = area_average(result.lung_mask.values > 0, overlay.grid.shape)
        wanted = np.where(share > 0, wanted, 0)
    shared = found.SharedFunctionalGroupsSequence[0]
    mapping = shared.RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == {"disease_map": "1", "evidence": "{logit}"}[name]
    rows_mm, columns_mm = (float(mm) for mm in shared.PixelMeasuresSequence[0].PixelSpacing)
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    to_index = np.linalg.inv(np.array(overlay.grid.direction_lps) * np.array(overlay.grid.spacing_mm))
    seen = []
    for values, frame in zip(found.pixel_array, found.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in ((0, 0), (5, 3)):
            place = corner + cosines[:3] * column * columns_mm + cosines[3:] * row * rows_mm
            index = to_index @ (place - np.array(overlay.grid.origin_lps))
            assert index[1:] == pytest.approx((row, column), abs=1e-4)
        assert np.array_equal(values, wanted[round(index[0])])
        seen.append(round(index[0]))
        assert frame.DerivationImageSequence[0].SourceImageSequence  # the slices of the CT that lie in it
    assert seen == list(range(overlay.grid.shape[0]))  # dcmqi, and with it Slicer, relies on their order


def test_the_report_is_there_as_pdf_and_as_its_pages(folder: Path) -> None:
    found = pydicom.dcmread(folder / "report.dcm")
    text = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(found.EncapsulatedDocument)).pages)
    assert wording.RESEARCH_USE in text
    assert "Study 2025-01-02" in text
    assert "Erika" not in text
    pages = sorted(folder.glob("report_page_*.dcm"))
    assert len(pages) == len(pypdf.PdfReader(io.BytesIO(found.EncapsulatedDocument)).pages)
    for number, page in enumerate(pages, start=1):
        picture = pydicom.dcmread(page)
        assert picture.pixel_array.shape == (1754, 1240, 3)
        assert picture.InstanceNumber == number
        assert (picture.pixel_array < 128).any(axis=2).mean() > 0.01  # ink


def test_every_object_joins_the_study_in_a_series_of_its_own_and_invents_nothing(folder: Path, ct: CT) -> None:
    assert {path.name for path in folder.glob("*.dcm")} >= FILES
    source = pydicom.dcmread(volume(ct).first.path, stop_before_pixels=True)
    series = {}
    for path in folder.glob("*.dcm"):
        found = pydicom.dcmread(path, stop_before_pixels=True)
        for name in STUDY_ATTRIBUTES:
            assert str(found[name].value) == str(source[name].value), (path.name, name)
        assert found.SeriesInstanceUID != source.SeriesInstanceUID
        assert found.get("ContentDate", "20250102") == "20250102"
        assert "research use only" in found.SeriesDescription
        series[path.name.partition("_page")[0]] = (found.SeriesInstanceUID, found.SeriesNumber)
    assert len(set(series.values())) == len(series)
    assert all(400 < number < 500 for _, number in series.values())


def test_the_same_result_gives_the_same_files_and_another_answer_other_objects(
    folder: Path, ct: CT, result: ScanResult, tmp_path: Path
) -> None:
    without_pages = frozenset(ObjectKind) - {ObjectKind.PAGES}
    for path in write_objects(result, volume(ct), tmp_path / "again", without_pages):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name
    assert result.run
    others = {
        "answer": dataclasses.replace(result, probability=0.111),
        "model": dataclasses.replace(result, run=dataclasses.replace(result.run, model_sha256="cd" * 32)),
        "version": dataclasses.replace(result, run=dataclasses.replace(result.run, software="9.9")),
    }
    uids = {"": pydicom.dcmread(folder / "segmentation.dcm", stop_before_pixels=True)}
    for name, other in others.items():
        write_objects(other, volume(ct), tmp_path / name, frozenset({ObjectKind.SEGMENTATION}))
        uids[name] = pydicom.dcmread(tmp_path / name / "segmentation.dcm", stop_before_pixels=True)
    assert len({found.SOPInstanceUID for found in uids.values()}) == len(uids)
    assert uids["answer"].SeriesInstanceUID == uids[""].SeriesInstanceUID != uids["model"].SeriesInstanceUID
    named = uuid.UUID(int=int(uids[""].SOPInstanceUID.removeprefix("2.25.")))
    assert (named.version, named.variant) == (5, uuid.RFC_4122)


def test_a_folder_to_which_the_objects_came_back_holds_the_same_ct(folder: Path, ct: CT, tmp_path: Path) -> None:
    archivedct.turned_series(tmp_path / "study")
    shutil.copytree(folder, tmp_path / "study/objects")
    again = archivedct.read(tmp_path / "study")
    assert np.array_equal(canonical_view(again.image)[0], canonical_view(ct.image)[0])
    assert {part.what for part in again.provenance.left_out} == {
        *("multi-frame Segmentation", "Enhanced SR", "multi-frame Parametric Map", "Encapsulated PDF"),
        *("key image or screen capture", "other file"),
    }


def test_only_what_was_chosen_is_written(ct: CT, result: ScanResult, tmp_path: Path) -> None:
    write_objects(result, volume(ct), tmp_path, frozenset({ObjectKind.MAPS}))
    assert {path.name for path in tmp_path.glob("*.dcm")} == {"disease_map.dcm", "evidence.dcm"}


def test_a_validator_of_the_standard_finds_no_error(folder: Path, ct: CT, result: ScanResult, tmp_path: Path) -> None:
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    kinds = frozenset({ObjectKind.SEGMENTATION, ObjectKind.MEASUREMENTS})
    lobes = write_objects(archivedct.with_lobes(result), volume(ct), tmp_path, kinds)
    for path in (*sorted(folder.glob("*.dcm")), *lobes):
        said = subprocess.run([validator, str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith(("Error", "Abort"))]
        assert not errors, path.name


def test_whose_lung_mask_it_is_is_stated_without_a_files_name(ct: CT, result: ScanResult, tmp_path: Path) -> None:
    given = Origin(MaskKind.FILE, "Erika Mustermann.nrrd", Recognition.NUMBERS, "lungmask")
    kinds = frozenset({ObjectKind.MEASUREMENTS})
    found = {}
    for name, origin in (("own", Origin()), ("edited", Origin(MaskKind.EDITED)), ("given", given)):
        other = dataclasses.replace(result, lungs_from=origin)
        for path in write_objects(other, volume(ct), tmp_path / name, kinds):
            assert b"Mustermann" not in path.read_bytes()
        seg = hd.seg.segread(tmp_path / name / "segmentation.dcm")
        report = hd.sr.srread(tmp_path / name / "measurements.dcm")
        comments = [item.TextValue for item in named(report, "Comment")]
        found[name] = ([item.SegmentAlgorithmType for item in seg.SegmentSequence], comments)
    assert found["own"][0] == ["AUTOMATIC"] * 3
    assert found["edited"][0] == found["given"][0] == ["SEMIAUTOMATIC", "SEMIAUTOMATIC", "AUTOMATIC"]
    assert "Lung mask: found by EmphysemaScanner and edited." in found["edited"][1]
    assert "Lung mask: label file, recognised by the numbers of lungmask." in found["given"][1]
