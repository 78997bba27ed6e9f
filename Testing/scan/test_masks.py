"""A lung mask and lobes that a user gives: in every figure of the scan, and measured again without the network."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, RecordError
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.ct.provenance import UNKNOWN
from EmphysemaScannerLib.lungs.densitometry import measure
from EmphysemaScannerLib.lungs.masks import LungRegions
from EmphysemaScannerLib.lungs.regions import (
    LOBES,
    OWN,
    GivenRegions,
    MaskKind,
    Masks,
    Origin,
    Recognition,
    RegionError,
)
from EmphysemaScannerLib.models.field import Field
from EmphysemaScannerLib.models.modelcard import DiseaseMap
from EmphysemaScannerLib.models.modelfile import Model
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.report import contents
from EmphysemaScannerLib.report.tablefiles import densitometry_csv
from EmphysemaScannerLib.scan.extent import coarser, evidence_share, region_shares
from EmphysemaScannerLib.scan.measuring import measured_in
from EmphysemaScannerLib.scan.remeasure import RemeasureError, depends_on_the_mask, remeasured
from EmphysemaScannerLib.scan.result import ScanResult
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json, result_from_json, result_to_dict
from everymodel import model_of
from phantom import SPACING_MM, phantom, phantom_image

NAMES = [lobe.value for lobe in LOBES]
ORIGIN = Origin(MaskKind.FILE, "smith_john.nii.gz", Recognition.CODES)


@pytest.fixture(scope="module")
def image() -> sitk.Image:
    return phantom_image()


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of("conv_lstm")


def lobes() -> np.ndarray:
    """The right lung in thirds, the left in halves, by their numbers."""
    _, labels = phantom()
    k = np.arange(len(labels))[:, None, None]
    right, left = np.select([k >= 45, k >= 32], [1, 2], 3), np.where(k >= 38, 4, 5)
    return np.where(labels == 1, right, np.where(labels == 2, left, 0)).astype(np.uint8)


def given(labels: np.ndarray, parts: np.ndarray | None = None, origin: Origin = ORIGIN) -> GivenRegions:
    return GivenRegions.of_arrays(labels, parts, Grid.of_image(phantom_image()), origin)


@pytest.fixture(scope="module")
def own(image: sitk.Image, model: Model) -> ScanResult:
    return scan(image, model)


@pytest.fixture(scope="module")
def by_lobes(image: sitk.Image, model: Model) -> ScanResult:
    return scan(image, model, masks=Masks(lobes=given(phantom()[1], lobes())))


def test_lobes_have_every_figure_and_the_other_regions_stay(by_lobes: ScanResult) -> None:
    hu, labels = phantom()
    assert list(by_lobes.densitometry) == ["whole", "right", "left", "upper", "middle", "lower", *NAMES]
    for lobe in LOBES:
        expected = measure(hu[lobes() == lobe.lobe], math.prod(SPACING_MM))
        assert by_lobes.densitometry[lobe.value] == expected
    assert by_lobes.densitometry["whole"] == measure(hu[labels > 0], math.prod(SPACING_MM))
    shares = by_lobes.evidence_share_percent
    assert sum(shares[name] for name in NAMES) == pytest.approx(100, abs=0.01)
    assert shares["right"] == pytest.approx(sum(shares[name] for name in NAMES[:3]), abs=0.01)
    assert shares["whole"] == pytest.approx(100)


def test_the_model_that_reads_the_whole_ct_gives_the_same_answer_in_any_mask(
    own: ScanResult, by_lobes: ScanResult
) -> None:
    assert by_lobes.logit == own.logit
    assert own.lungs_from == OWN
    assert own.lobes_from is None
    assert by_lobes.lungs_from == by_lobes.lobes_from == ORIGIN


def test_evidence_is_shared_out_by_the_lung_at_its_place_and_what_speaks_against_is_not() -> None:
    _, labels = phantom()
    view = Preprocessing(shape=(35, 64, 64)).view(Grid.of_image(phantom_image()))
    fine = region_shares(labels, lobes(), view.share(labels), (labels > 0).sum((1, 2)), view)
    shares = {name: coarser(share, (35, 8, 8)) for name, share in fine}
    evidence = np.full((35, 8, 8), -1.0)
    evidence[30, 4, 2] = 3  # right upper lobe
    evidence[19, 4, 5] = 1  # left; both of its lobes meet in this slice of two
    evidence[20, 0, 0] = 9  # no lung
    found = evidence_share(evidence, shares)
    assert found["right_upper_lobe"] == pytest.approx(75)
    assert found["left_upper_lobe"] + found["left_lower_lobe"] == pytest.approx(25)
    assert found["right_lower_lobe"] == 0
    assert all(math.isnan(value) for value in evidence_share(-np.ones((35, 8, 8)), shares).values())


def test_regions_of_fewer_than_a_thousand_voxels_have_no_percentiles(image: sitk.Image) -> None:
    hu, labels = phantom()
    parts = lobes()
    small = np.flatnonzero(parts == 2)
    parts.ravel()[small[999:]] = 3
    figures = measured_in(image, LungRegions(labels, parts), UNKNOWN).densitometry
    assert math.isnan(figures["right_middle_lobe"].perc15_hu)
    assert math.isfinite(figures["right_middle_lobe"].laa_950_percent)
    parts.ravel()[small[999]] = 2
    figures = measured_in(image, LungRegions(labels, parts), UNKNOWN).densitometry
    assert figures["right_middle_lobe"] == measure(hu[parts == 2], math.prod(SPACING_MM))


def test_a_lobe_that_is_not_in_the_file_is_in_no_table(image: sitk.Image, model: Model) -> None:
    parts = lobes()
    parts[parts == 2] = 0
    result = scan(image, model, masks=Masks(given(phantom()[1]), given(phantom()[1], parts)))
    assert "right_middle_lobe" not in result.densitometry
    assert [row[0] for row in contents.densitometry(result).rows][-2:] == ["Left upper lobe", "Left lower lobe"]


def test_tables_and_files_say_whose_mask_was_used(own: ScanResult, by_lobes: ScanResult) -> None:
    rows = list(csv.DictReader(io.StringIO(densitometry_csv(by_lobes))))
    assert [row["region"] for row in rows][6:11] == NAMES
    assert {row["mask"] for row in rows} == {"file"}
    assert {row["mask"] for row in csv.DictReader(io.StringIO(densitometry_csv(own)))} == {"own"}
    written = result_to_dict(by_lobes)["masks"]
    assert written["lobes"] == {"kind": "file", "name": ORIGIN.name, "recognised": "codes", "numbering": ""}
    assert dict(contents.masks(own).rows) == {"Lung mask": ("found by EmphysemaScanner",)}
    said = dict(contents.masks(by_lobes).rows)
    assert said["Lobes"] == ("label file 'smith_john.nii.gz', recognised by SNOMED CT codes",)
    table = contents.densitometry(by_lobes)
    assert table.titles[1] == "Evidence"
    assert len(table.rows) == 11
    assert "Evidence" not in contents.densitometry(own).titles


def test_a_result_without_names_has_none_of_a_masks_file(by_lobes: ScanResult) -> None:
    bare = contents.without_names(by_lobes)
    assert "smith" not in json.dumps(result_to_dict(bare))
    assert bare.lungs_from.recognised is Recognition.CODES


def test_a_record_brings_masks_and_shares_back(by_lobes: ScanResult, own: ScanResult) -> None:
    for result in (by_lobes, own):
        again = result_from_json(record_to_json(result), result.lung_mask)
        assert (again.lungs_from, again.lobes_from) == (result.lungs_from, result.lobes_from)
        assert again.evidence_share_percent == pytest.approx(result.evidence_share_percent)
        assert again.densitometry == result.densitometry


def test_lobes_come_back_voxel_for_voxel_and_others_than_the_cts_are_refused(
    by_lobes: ScanResult, own: ScanResult
) -> None:
    assert own.lobe_mask is None
    record = record_to_json(by_lobes)
    back = result_from_json(record, by_lobes.lung_mask)
    for result in (by_lobes, back):
        assert result.lobe_mask
        assert np.array_equal(result.lobe_mask.values, lobes())
        assert result.lobe_mask.grid == by_lobes.lung_mask.grid
    values = json.loads(record)
    too_few, unknown = lobes()[1:], np.full_like(lobes(), 6)
    for labels in (too_few, unknown):
        values["maps"]["lobes"] = base64.b64encode(zlib.compress(labels.tobytes())).decode()
        with pytest.raises(RecordError):
            result_from_json(json.dumps(values), by_lobes.lung_mask)


def test_measuring_again_gives_what_a_scan_with_the_mask_gives(
    image: sitk.Image, own: ScanResult, by_lobes: ScanResult
) -> None:
    again = remeasured(image, own, Masks(lobes=given(phantom()[1], lobes())))
    for field in dataclasses.fields(ScanResult):
        if field.name not in ("timings_s", "run"):
            value, expected = getattr(again, field.name), getattr(by_lobes, field.name)
            assert repr(value) == repr(expected), field.name
    assert np.array_equal(again.lung_mask.values, by_lobes.lung_mask.values)
    assert np.array_equal(again.laa_950_by_slice_percent, by_lobes.laa_950_by_slice_percent, equal_nan=True)


def test_a_disease_map_that_weighs_low_density_is_drawn_again_as_a_scan_draws_it(image: sitk.Image) -> None:
    """Also from a record, which keeps the map and the low density as float16; an earlier one lacks the latter."""
    plain = model_of("conv_lstm")
    weights = tuple(np.random.default_rng(3).normal(0, 2, plain.network.units[0].recurrence.filters).tolist())
    known = DiseaseMap(("asc1",), weights, -0.5, 0.3, "invented cases", low_weight=4.0)
    model = Model(plain.network, dataclasses.replace(plain.card, disease_map=known))
    holes = sitk.GetArrayFromImage(image)
    holes[::3, ::2, ::2] -= 120  # lung below -950 HU
    ct = Grid.of_image(image).to_image(holes)
    own = scan(ct, model)
    smaller = phantom()[1].copy()
    smaller[:, :30][smaller[:, :30] == 1] = 0
    masks = Masks(given(smaller))
    expected = scan(ct, model, masks=masks)
    assert own.disease is not None
    assert expected.disease is not None
    assert np.abs(expected.disease.values - own.disease.values).max() > 0.2
    stored = result_from_json(record_to_json(own), own.lung_mask)
    for result, error in ((own, 1e-5), (stored, 2e-3)):
        again = remeasured(ct, result, masks)
        assert again.disease is not None
        assert np.abs(again.disease.values - expected.disease.values).max() < error
        assert again.disease_extent_percent == pytest.approx(expected.disease_extent_percent, abs=100 * error)
    assert depends_on_the_mask(dataclasses.replace(own, low_density=None))


def test_measuring_again_in_its_own_mask_changes_nothing(image: sitk.Image, own: ScanResult) -> None:
    memory = "The cuda device had too little memory; the network ran on the CPU."
    again = remeasured(image, dataclasses.replace(own, warnings=(*own.warnings, memory)), Masks())
    assert again.warnings == (*own.warnings, memory)
    assert again.densitometry == own.densitometry


def test_a_model_whose_answer_depends_on_the_mask_must_scan_again(image: sitk.Image, own: ScanResult) -> None:
    lungs_only = dataclasses.replace(own.model, preprocessing=Preprocessing(field=Field.LUNGS))
    for result in (dataclasses.replace(own, model=lungs_only), dataclasses.replace(own, evidence=None)):
        assert depends_on_the_mask(result)
        with pytest.raises(RemeasureError, match="scan the CT again"):
            remeasured(image, result, Masks())
    assert not depends_on_the_mask(own)


def test_another_ct_is_not_measured_for_a_result(image: sitk.Image, own: ScanResult) -> None:
    with pytest.raises(EmphysemaScannerError, match="of another CT"):
        remeasured(image[:, :, :60], own, Masks())


def test_a_mask_too_small_for_a_model_of_densitometry_is_refused(image: sitk.Image) -> None:
    _, labels = phantom()
    few = np.zeros_like(labels)
    few.ravel()[np.flatnonzero(labels)[:500]] = 1
    with pytest.raises(RegionError, match="too few voxels"):
        scan(image, model_of("perc15_logistic"), masks=Masks(given(few)))


def test_label_files_of_all_kinds_give_the_same_scan(image: sitk.Image, model: Model, tmp_path: Path) -> None:
    from EmphysemaScannerLib.lungs.labelfiles import MaskFiles

    stored = Grid.of_image(image).to_image(np.array([0, 3, 4, 5, 1, 2], np.uint8)[lobes()])  # lungmask's numbers
    results = []
    for name in ("a.nii.gz", "b.nrrd"):
        sitk.WriteImage(stored, str(tmp_path / name))
        results.append(scan(image, model, masks=MaskFiles(lobes=tmp_path / name).read()))
    assert all(result.densitometry == results[0].densitometry for result in results)
    assert set(NAMES) <= set(results[0].densitometry)
