"""A result comes back from its record as it was; a record that is damaged or hostile is refused in a sentence."""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.base.errors import RecordError
from EmphysemaScannerLib.ct.provenance import LeftOut, Provenance, Series
from EmphysemaScannerLib.lungs.coverage import Coverage
from EmphysemaScannerLib.lungs.densitometry import Densitometry
from EmphysemaScannerLib.lungs.measurements import Measurements
from EmphysemaScannerLib.lungs.scope import Scope
from EmphysemaScannerLib.models.conv_lstm import ConvLSTMConfig
from EmphysemaScannerLib.models.modelcard import Metric, ModelCard, OperatingPoint
from EmphysemaScannerLib.models.modelfile import Model
from EmphysemaScannerLib.models.networks import FastConvLSTM
from EmphysemaScannerLib.models.preprocessing import Preprocessing
from EmphysemaScannerLib.scan.call import Call
from EmphysemaScannerLib.scan.result import OverlayMap, ScanResult
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.scan.serialise import record_to_json, result_from_json, result_to_dict
from phantom import phantom_image

PROVENANCE = Provenance(
    series=Series("2", "Thorax", "B30f", "ORIGINAL\\PRIMARY\\AXIAL", 133, "1"),
    left_out=(LeftOut("series 3 'MinIP'", 133, "it is derived"),),
    slice_thickness_mm=2.5,
    warnings=("The gantry was tilted.",),
)


@pytest.fixture(scope="module")
def result() -> ScanResult:
    """A real scan of an oblique CT, its source and numbers as awkward as they may be."""
    image = phantom_image()
    image[16:22, 28:36, 30:34] = -990  # a cluster, and a bulla
    turn = sitk.Euler3DTransform((0, 0, 0), 0.1, 0.05, -0.2)
    image.SetDirection(turn.GetMatrix())
    torch.manual_seed(0)
    card = ModelCard(
        'a "model" ≥ 1',
        "conv_lstm",
        2,
        1,
        Preprocessing(),
        OperatingPoint(0.41, "test"),
        "",
        "2026-01-01",
        "",
        "",
        True,
        (Metric("AUC", 0.5, 0.4, 0.6, "none"),),
        ("Braman 2018",),
    )
    scanned = scan(
        image,
        Model(FastConvLSTM(ConvLSTMConfig(width=2)).eval(), card),
        source="Überlauf <1>",
        provenance=PROVENANCE,
        measure=Scope.ALL,
    )
    assert scanned.measurements.clusters["whole"].count
    assert np.isnan(scanned.laa_950_by_slice_percent).any()
    empty = Densitometry(*[float("nan")] * 6, volume_l=0.0, mass_g=0.0)
    return dataclasses.replace(
        scanned, warnings=("Thick slices.", "Noise."), densitometry={**scanned.densitometry, "left": empty}
    )


@pytest.fixture(scope="module")
def record(result: ScanResult) -> str:
    return record_to_json(result)


def changed(record: str, change: Callable[[dict[str, Any]], Any]) -> str:
    values = json.loads(record)
    change(values)
    return json.dumps(values)


def test_a_result_comes_back_from_its_record(result: ScanResult, record: str) -> None:
    back = result_from_json(record, result.lung_mask)
    for field in dataclasses.fields(ScanResult):
        before, after = getattr(result, field.name), getattr(back, field.name)
        if isinstance(before, np.ndarray):
            np.testing.assert_array_equal(after, before, field.name)
            assert after.dtype == before.dtype
        elif field.name not in (
            "slices",
            "activations",
            "evidence",
            "lung_mask",
            "lung_fraction",
            "densitometry",
            "measurements",
        ):
            assert after == before, field.name
    np.testing.assert_equal(dataclasses.asdict(back.measurements), dataclasses.asdict(result.measurements))
    assert type(back.slices) is type(result.slices)
    np.testing.assert_equal(dataclasses.asdict(back.slices), dataclasses.asdict(result.slices))
    np.testing.assert_equal(
        {name: dataclasses.asdict(region) for name, region in back.densitometry.items()},
        {name: dataclasses.asdict(region) for name, region in result.densitometry.items()},
    )
    assert (back.call, back.call_reason) == (result.call, result.call_reason)


def test_a_withheld_call_comes_back_with_its_reason(result: ScanResult) -> None:
    card = dataclasses.replace(result.model, operating_point=OperatingPoint(1.0, "test"))
    cut = dataclasses.replace(result, coverage=Coverage(12.0, 0.0), model=card)
    values = result_to_dict(cut)
    assert (values["call"], values["call_reason"]) == ("none", cut.call_reason)
    assert values["lung_coverage"] == {"missing_top_percent": 12.0, "missing_bottom_percent": 0.0}
    back = result_from_json(record_to_json(cut), cut.lung_mask)
    assert (back.coverage, back.call, back.call_reason) == (cut.coverage, Call.NONE, cut.call_reason)


def test_what_a_record_of_an_earlier_version_lacks_of_the_lungs_is_measured_in_its_mask(
    result: ScanResult, record: str
) -> None:
    earlier = changed(record, lambda values: values.pop("lung_coverage"))
    assert result_from_json(earlier, result.lung_mask).coverage == Coverage(0.0, 0.0)
    apices_cut = OverlayMap(result.lung_mask.values[:50], result.lung_mask.grid.resized((50, 64, 64)))
    assert result_from_json(earlier, apices_cut).coverage.missing_top_percent > 5


@pytest.mark.parametrize("percent", [None, -1, 101, "much"])
def test_what_is_missing_of_the_lungs_must_be_a_percentage(result: ScanResult, record: str, percent: object) -> None:
    damaged = changed(record, lambda values: values["lung_coverage"].update(missing_top_percent=percent))
    with pytest.raises(RecordError, match="damaged"):
        result_from_json(damaged, result.lung_mask)


def test_the_maps_come_back_where_they_were_the_evidence_exactly(result: ScanResult, record: str) -> None:
    back = result_from_json(record, result.lung_mask)
    assert back.evidence.grid == result.evidence.grid
    np.testing.assert_array_equal(back.evidence.values, result.evidence.values)
    assert list(back.activations) == list(result.activations)
    for name, activation in result.activations.items():
        assert back.activations[name].grid == activation.grid
        assert back.activations[name].values.dtype == np.float32
        np.testing.assert_allclose(back.activations[name].values, activation.values, rtol=5e-4)
    np.testing.assert_array_equal(back.lung_fraction.values, result.lung_fraction.values)
    np.testing.assert_allclose(back.lung_fraction.grid.ijk_to_ras(), result.lung_fraction.grid.ijk_to_ras())


def test_the_record_says_all_that_result_json_says(result: ScanResult, record: str) -> None:
    values = json.loads(record)
    del values["maps"], values["curves"]
    assert values == json.loads(json.dumps(result_to_dict(result)))


def test_a_record_of_a_record_is_the_same_record(result: ScanResult, record: str) -> None:
    assert record_to_json(result_from_json(record, result.lung_mask)) == record


def test_a_record_of_an_earlier_version_which_only_knew_evidence_is_read(result: ScanResult, record: str) -> None:
    def earlier(values: dict[str, Any]) -> None:
        for name in ("each_slice", "slice_probability", "slice_weight"):
            del values[name]
        del values["maps"]["grid"]

    back = result_from_json(changed(record, earlier), result.lung_mask)
    assert record_to_json(dataclasses.replace(back, lung_fraction=result.lung_fraction)) == record


def test_a_record_stays_small_enough_for_a_scene(record: str) -> None:
    assert len(record.encode()) < 500_000


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"schema": 1}', "[" * 100_000])
def test_what_is_no_record_is_refused_in_a_sentence(result: ScanResult, text: str) -> None:
    with pytest.raises(RecordError, match="scan the CT again"):
        result_from_json(text, result.lung_mask)


def test_a_record_cut_off_anywhere_is_refused(result: ScanResult, record: str) -> None:
    for length in range(0, len(record), len(record) // 20):
        with pytest.raises(RecordError):
            result_from_json(record[:length], result.lung_mask)


def test_a_record_without_one_of_its_fields_is_refused(result: ScanResult, record: str) -> None:
    derived = {"running_probability", "reading_order", "operating_point", "call", "call_reason"}
    # Earlier versions had none of these.
    derived |= {
        "each_slice",
        "run",
        "slice_probability",
        "slice_weight",
        "input",
        "lung_coverage",
        "masks",
        "evidence_share_percent",
        "measurements",
        "expiration",
    }
    for name in set(json.loads(record)) - derived:
        with pytest.raises(RecordError, match="scan the CT again"):
            result_from_json(changed(record, lambda values, name=name: values.pop(name)), result.lung_mask)


def bomb(values: dict[str, Any]) -> None:
    values["maps"]["evidence"]["data"] = base64.b64encode(zlib.compress(bytes(50_000_000), 9)).decode()


@pytest.mark.parametrize(
    "change",
    [
        bomb,
        lambda v: v["maps"]["evidence"].update(data="AAAA"),
        lambda v: v["maps"]["evidence"].update(data=3),
        lambda v: v["maps"]["evidence"].update(dtype="object"),
        lambda v: v["maps"]["evidence"].update(encoding="pickle"),
        lambda v: v["maps"]["evidence"]["grid"].update(shape=[35, 8]),
        lambda v: v["maps"]["evidence"]["grid"].update(shape=[35, 8, -8]),
        lambda v: v["maps"]["evidence"]["grid"].update(shape=[10**6, 10**6, 10**6]),
        lambda v: v["maps"]["evidence"]["grid"].update(spacing_mm=[0, 1, 1]),
        lambda v: v["maps"]["evidence"]["grid"].update(origin_lps=[None, 1, 1]),
        lambda v: v["maps"]["evidence"]["grid"].update(direction_lps=[1, 0, 0]),
        lambda v: v["maps"].update(activations=[1]),
        lambda v: v.update(maps=None),
        lambda v: v.update(slice_evidence=[0.0]),
        lambda v: v.update(slice_evidence=["a"] * 35),
        lambda v: v.update(slice_indices=[0] * 35),
        lambda v: v.update(probability="high"),
        lambda v: v["densitometry"].update(regions={"whole": {}}),
        lambda v: v["measurements"].update(parts={"core": {}}),
        lambda v: v["measurements"].update(parts={"../core": {}}),
        lambda v: v["measurements"].update(distribution={"unheard_of": 1}),
        lambda v: v["measurements"]["laa_950_by_height_percent"].update(right=[1, 2]),
        lambda v: v["measurements"]["clusters"]["whole"].update(largest_ml=[0] * 200),
        lambda v: v["measurements"]["clusters"]["whole"].update(count=None),
        lambda v: v["measurements"]["normalised"].update(kernel={"energies_hu": [1], "factors": []}),
        lambda v: v["curves"]["histograms"].update(whole="eJwDAAAAAAE="),
        lambda v: v["curves"]["cluster_sizes"].update(whole=[[1], [1, 2]]),
        lambda v: v.pop("curves"),
        lambda v: v["model"].update(width="2"),
        lambda v: v.update(warnings=3),
    ],
)
def test_a_damaged_record_is_refused_in_a_sentence(
    result: ScanResult, record: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    with pytest.raises(RecordError, match="scan the CT again"):
        result_from_json(changed(record, change), result.lung_mask)


def test_a_record_of_an_earlier_version_has_no_measurements(result: ScanResult, record: str) -> None:
    def older(values: dict[str, Any]) -> None:
        del values["measurements"], values["curves"]
        for region in values["densitometry"]["regions"].values():
            for later in ("haa_700_percent", "perc10_hu", "voxels"):
                del region[later]

    back = result_from_json(changed(record, older), result.lung_mask)
    assert back.measurements == Measurements()
    assert np.isnan(back.densitometry["whole"].perc10_hu)
    assert back.densitometry["whole"].perc15_hu == result.densitometry["whole"].perc15_hu


def test_the_share_of_lung_follows_the_mask_that_is_given(result: ScanResult, record: str) -> None:
    right_only = OverlayMap((result.lung_mask.values == 1).astype(np.uint8), result.lung_mask.grid)
    back = result_from_json(record, right_only)
    columns = back.lung_fraction.values.sum((0, 1))
    assert columns[:50].sum() > 0
    assert columns[80:].sum() == 0
