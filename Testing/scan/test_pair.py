"""A scanned CT with a second one in expiration: what is found, what is refused, and what is never lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import breathing
import numpy as np
import pytest
import SimpleITK as sitk
from dicomfiles import write_dicom
from EmphysemaScannerLib.base.errors import ScanCancelled
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.ct.provenance import Provenance, Series
from EmphysemaScannerLib.ct.reading import CT, read_ct
from EmphysemaScannerLib.lungs.densitometry import measure_lungs
from EmphysemaScannerLib.lungs.expiration import ExpiratoryPair, PairError, Response, response_map
from EmphysemaScannerLib.lungs.regions import GivenRegions, Masks
from EmphysemaScannerLib.report.contents import Case
from EmphysemaScannerLib.report.report import render_report
from EmphysemaScannerLib.report.tablefiles import further_csvs
from EmphysemaScannerLib.scan.pair import Expiratory, check_pair, read_expiratory, scan_pair, with_expiration
from EmphysemaScannerLib.scan.result import OverlayMap, ScanResult
from EmphysemaScannerLib.scan.serialise import record_to_json, result_from_json, result_to_dict, write_overlays

TRAPPED = slice(0, 18)  # slices of the inspiratory CT: what lies lower keeps its air


def inspiration(make_result) -> tuple[ScanResult, sitk.Image]:
    """The small chest's inspiratory CT and a result on it."""
    image, labels = breathing.inspiration()
    grid = Grid.of_image(image)
    lungs = measure_lungs(sitk.GetArrayFromImage(image), labels, grid.spacing_mm)
    return make_result(lung_mask=OverlayMap(labels, grid), densitometry=lungs.regions), image


def expiration(trapped: bool = False) -> Expiratory:
    """Its expiratory CT; what is trapped keeps the density that it had in inspiration."""
    image, labels = breathing.expiration(noise_hu=5.0)
    if trapped:
        hu = sitk.GetArrayFromImage(image)
        before = breathing.inspired(breathing.places())
        kept = (labels > 0) & (before[..., 0] < TRAPPED.stop * breathing.SPACING_MM[0])
        hu[kept] = np.rint(breathing.air_at(before[kept]) - 1000)
        image = breathing.as_image(hu)
    given = GivenRegions.of_arrays(labels, None, Grid.of_image(image))
    return Expiratory(image, Provenance(), Masks(given))


@pytest.fixture(scope="module")
def unchecked() -> pytest.MonkeyPatch:
    """The small chest is not as large as one of a patient."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("EmphysemaScannerLib.scan.pair.check_image", lambda image: None)
        yield patch


@pytest.fixture(scope="module")
def paired(make_result, unchecked) -> ScanResult:
    return with_expiration(*inspiration(make_result), expiration(trapped=True))


def test_the_trapped_region_is_found_by_the_response_map(paired) -> None:
    pair, second = paired.expiration, expiration(trapped=True)
    assert not pair.missing
    # Each voxel of the expiratory lungs belongs to a place of the inspiratory CT, whose density is known.
    lungs = second.masks.lungs.sides > 0
    before = breathing.inspired(breathing.places())[lungs]
    inspiratory = breathing.air_at(before) - 1000
    expiratory = sitk.GetArrayFromImage(second.image)[lungs].astype(float)
    found = pair.response[tuple(np.rint(before / breathing.SPACING_MM).astype(int).T)]
    trapped = before[:, 0] < TRAPPED.stop * breathing.SPACING_MM[0]
    certain = (found > 0) & (np.abs(expiratory + 856) > 25) & (np.abs(inspiratory + 950) > 25)
    truth = response_map(inspiratory, expiratory, np.ones(len(inspiratory), bool))
    assert (found == truth)[trapped & certain].mean() > 0.85
    assert (found == truth)[~trapped & certain].mean() > 0.95
    small_airways = found == Response.SMALL_AIRWAYS
    assert small_airways[trapped].mean() > 2.5 * small_airways[~trapped].mean()


def test_the_pair_says_how_far_the_patient_breathed_out(paired) -> None:
    pair = paired.expiration
    figures = pair.regions["whole"]
    assert figures.volume_ratio == pytest.approx(0.67, abs=0.01)
    assert figures.expiratory_volume_l == pytest.approx(0.67 * figures.inspiratory_volume_l, abs=0.01)
    assert set(pair.regions) == {"whole", "right", "left"}
    assert pair.quality.dice > 0.9
    assert paired.timings_s["total"] > paired.timings_s["expiration"] > 0


def test_a_record_keeps_the_pair(paired, make_result) -> None:
    again = result_from_json(record_to_json(paired), paired.lung_mask)
    assert again.expiration is not None
    assert again.expiration.regions == paired.expiration.regions
    assert again.expiration.quality == paired.expiration.quality
    assert np.array_equal(again.expiration.response, paired.expiration.response)
    assert result_to_dict(paired)["expiration"]["registration"]["dice"] == paired.expiration.quality.dice
    without = make_result()
    assert result_from_json(record_to_json(without), without.lung_mask).expiration is None


def test_files_and_report_have_the_pair(paired, make_result, tiny_chest, tmp_path: Path) -> None:
    (file,) = (path for path in write_overlays(paired, tmp_path) if path.name == "response.nrrd")
    written = sitk.ReadImage(str(file))
    assert np.array_equal(sitk.GetArrayFromImage(written), paired.expiration.response)
    assert written.GetMetaData("class_4") == "Emphysema"
    assert "whole,expiratory_pair,air_trapping_percent," in further_csvs(paired)["measurements.csv"]
    # The network's maps of a result lie on the other small chest.
    lungs = np.asarray(make_result().lung_mask.values)
    shown = dataclasses.replace(paired.expiration, response=np.where(lungs > 0, Response.NORMAL, 0).astype(np.uint8))
    page = render_report(Case(tiny_chest, make_result(expiration=shown)))
    assert "Inspiratory and expiratory CT" in page
    assert page.count("data:image/png") == 2


def test_swapped_cts_are_named_and_the_answer_is_kept(make_result, unchecked) -> None:
    result, image = inspiration(make_result)
    given = GivenRegions.of_arrays(np.asarray(result.lung_mask.values), None, result.lung_mask.grid)
    larger = sitk.Image(image)
    larger.SetSpacing([1.1 * mm for mm in image.GetSpacing()])
    given = dataclasses.replace(given, grid=Grid.of_image(larger))
    found = with_expiration(result, image, Expiratory(larger, masks=Masks(given)))
    assert found.expiration is not None
    assert "swapped" in found.expiration.missing
    assert not found.expiration.regions
    assert found.probability == result.probability


def test_a_second_ct_without_lungs_loses_nothing(make_result) -> None:
    result, image = inspiration(make_result)
    empty = sitk.Image([64, 64, 64], sitk.sitkInt16)
    found = with_expiration(result, image, Expiratory(empty))
    assert found.expiration is not None
    assert found.expiration.missing.startswith("The expiratory CT could not be used: ")
    assert dataclasses.replace(found, expiration=None, timings_s={}) == dataclasses.replace(result, timings_s={})


def test_lungs_that_cannot_be_registered_leave_the_figures_of_density(make_result, unchecked) -> None:
    result, image = inspiration(make_result)
    second = expiration()
    swapped = dataclasses.replace(second.masks.lungs, sides=np.array([0, 2, 1], np.uint8)[second.masks.lungs.sides])
    found = with_expiration(result, image, dataclasses.replace(second, masks=Masks(swapped))).expiration
    assert found.missing.startswith("The response map could not be made: ")
    assert found.regions["whole"].air_trapping_percent >= 0
    assert found.response is None


def test_different_kernels_are_doubted(make_result, unchecked, monkeypatch) -> None:
    from EmphysemaScannerLib.scan import pair as module

    def no_registration(*_args):
        raise module.RegistrationError("not here.")

    monkeypatch.setattr(module, "register", no_registration)
    result, image = inspiration(make_result)
    result = dataclasses.replace(result, provenance=Provenance(Series(kernel="B30f")))
    second = dataclasses.replace(expiration(), provenance=Provenance(Series(kernel="B60f")))
    assert "B30f and B60f" in with_expiration(result, image, second).expiration.warnings[0]


def test_cancelling_the_second_ct_cancels_the_scan(make_result) -> None:
    result, image = inspiration(make_result)

    def cancel(_share: float, _stage: str) -> None:
        raise ScanCancelled("The user cancelled.")

    with pytest.raises(ScanCancelled):
        with_expiration(result, image, expiration(), progress=cancel)


def test_without_a_second_ct_nothing_is_added(make_result) -> None:
    result, image = inspiration(make_result)
    assert scan_pair(lambda _progress: result, image, None) is result


def test_the_same_ct_twice_is_refused_before_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "ct.nrrd"
    sitk.WriteImage(breathing.inspiration()[0], str(path))
    with pytest.raises(PairError, match="itself"):
        read_expiratory(path, read_ct(path))
    check_pair(CT(breathing.inspiration()[0]), CT(breathing.expiration()[0]))


def test_dicom_series_of_two_patients_are_refused_before_the_scan(tmp_path: Path) -> None:
    paths = []
    for name, patient in (("one", "1"), ("two", "2"), ("three", "1")):
        paths.append(tmp_path / name)
        image = breathing.inspiration()[0] if name == "one" else breathing.expiration()[0]
        write_dicom(paths[-1], image, PatientID=patient, PatientName=f"Name^{patient}")
    first = read_ct(paths[0])
    with pytest.raises(PairError, match="of another patient than the inspiratory one; choose two CTs of one patient"):
        read_expiratory(paths[1], first)
    assert read_expiratory(paths[2], first).provenance.series is not None


def test_a_changed_lung_mask_takes_the_pair_back_and_says_so(paired) -> None:
    from EmphysemaScannerLib.scan.remeasure import _outdated

    assert "scan again" in _outdated(paired).missing
    assert _outdated(dataclasses.replace(paired, expiration=None)) is None
    assert isinstance(_outdated(paired), ExpiratoryPair)
