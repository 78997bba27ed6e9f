"""The report on a model: its measures have known answers, and the whole of it runs on a small network."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import everymodel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from EmphysemaScannerLib.cohort.manifest import CohortRow
from EmphysemaScannerLib.ct.grid import Grid
from EmphysemaScannerLib.evaluation.modelreport import changes, cuts, page, real
from EmphysemaScannerLib.evaluation.modelreport.page import _csv
from EmphysemaScannerLib.evaluation.modelreport.places import enlarged, found, most_highlighted
from EmphysemaScannerLib.evaluation.modelreport.report import Amount, Material, spread, write_report
from EmphysemaScannerLib.evaluation.modelreport.section import Section, Table, kept, mean_interval
from EmphysemaScannerLib.lungs.lungs import segment_lungs
from EmphysemaScannerLib.models import modelfile
from phantom import phantom, phantom_image

SHAPE = (10, 20, 20)


@pytest.fixture
def lesions() -> np.ndarray:
    share = np.zeros(SHAPE)
    for k in range(1, 8):
        share[k, 2 : 3 + k, 4:9] = 1
    return share


def test_a_map_equal_to_the_lesions_finds_all_of_them(lesions: np.ndarray) -> None:
    said = found(lesions, lesions, np.ones(SHAPE, bool))
    assert (said.pointing, said.precision, said.slices) == pytest.approx((1, 1, 1))
    assert said.chance == pytest.approx(lesions.mean())


def test_a_map_opposite_to_the_lesions_finds_none(lesions: np.ndarray) -> None:
    said = found(-lesions, lesions, np.ones(SHAPE, bool))
    assert said.pointing == 0
    assert said.slices == pytest.approx(-1)
    assert said.precision <= said.chance


def test_a_random_map_is_at_chance(lesions: np.ndarray) -> None:
    maps = np.random.default_rng(1).random((50, *SHAPE))
    precisions = [found(values, lesions, np.ones(SHAPE, bool)).precision for values in maps]
    assert np.mean(precisions) == pytest.approx(lesions.mean(), rel=0.1)


def test_a_map_that_is_the_same_everywhere_points_at_chance_and_says_nothing_of_slices(lesions: np.ndarray) -> None:
    said = found(np.zeros(SHAPE), lesions, np.ones(SHAPE, bool))
    assert (said.pointing, said.precision) == pytest.approx((said.chance, said.chance))


def test_what_lies_outside_the_lungs_is_not_counted(lesions: np.ndarray) -> None:
    lung = np.ones(SHAPE, bool)
    lung[9] = False
    loud = lesions.copy()
    loud[9] = 100
    assert found(loud, lesions, lung).pointing == 1


def test_without_lesions_there_is_nothing_to_find() -> None:
    assert np.isnan(found(np.ones(SHAPE), np.zeros(SHAPE), np.ones(SHAPE, bool)).precision)


def test_a_coarse_map_is_enlarged_place_by_place() -> None:
    coarse = np.arange(8.0).reshape(2, 2, 2)
    assert np.array_equal(enlarged(coarse, (4, 4, 4)), coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_the_most_highlighted_lung_is_the_highest_and_as_much_as_asked(lesions: np.ndarray) -> None:
    lung = np.ones(SHAPE, bool)
    lung[:, :2] = False
    chosen = most_highlighted(lesions, lung, 2, np.random.default_rng(1))
    assert chosen.sum() == round(0.02 * lung.sum())
    assert (lesions[chosen] == 1).all()
    assert not chosen[~lung].any()


def test_the_interval_of_a_mean_holds_it_and_leaves_out_what_is_missing() -> None:
    assert mean_interval([0.5, 0.5, float("nan")]) == "0.500 (0.500 to 0.500)"
    assert mean_interval([float("nan")]) == "-"


def test_a_section_is_measured_again_only_when_its_input_changed(tmp_path: Path) -> None:
    asked = []

    def measure() -> Section:
        asked.append(1)
        return Section("a", ["b"], [Table("t", "T", ("x",), [("1",)])])

    first = kept(tmp_path / "s.json", "key", measure)
    again = kept(tmp_path / "s.json", "key", measure)
    assert len(asked) == 1
    assert list(again.tables[0].rows[0]) == list(first.tables[0].rows[0])
    (tmp_path / "s.json").write_text("{")
    kept(tmp_path / "s.json", "key", measure)
    kept(tmp_path / "s.json", "another key", measure)
    assert len(asked) == 3


def test_figures_below_zero_stay_numbers_in_the_csv_and_formulas_do_not_run() -> None:
    assert _csv(Table("t", "", ("a",), [("-0.5",), ("=1+1",)])) == "a\n-0.5\n'=1+1\n"


def test_foreign_words_become_no_link_html_or_formula(tmp_path: Path) -> None:
    words = "<script>alert(1)</script> [x](http://x) `a`"
    card = dataclasses.replace(everymodel.model_of("conv_lstm").card, name=words, training_data=words, limits=words)
    table = Table("t", words, (words,), [(words,), ("-1+cmd|' /C calc'!A0",)])
    text = page.write(tmp_path, [card, card], [Section("A", [], [table])]).read_text()
    assert "<" not in text
    assert "\\[x\\](http" in text
    assert "[x]" not in text
    assert "\n'-1+cmd" in (tmp_path / "t.csv").read_text()
    assert f": Conv-LSTM, {card.parameters:,} parameters, " in text  # of the model beside


def test_changes_leave_the_patient_as_it_was() -> None:
    image = phantom_image()
    array, grid = sitk.GetArrayFromImage(image), Grid.of_image(image)
    assert np.array_equal(sitk.GetArrayFromImage(changes.flipped(changes.flipped(image))), array)
    moved = sitk.GetArrayFromImage(changes.shifted(image, 2))  # 5 mm are one voxel of 5.5 mm
    assert np.array_equal(moved[:, :, 1:], array[:, :, :-1])
    smaller = changes.cropped(image)
    assert smaller.GetSize() == (56, 56, 70)  # 20 mm are four voxels
    assert np.array_equal(sitk.GetArrayFromImage(smaller), array[:, 4:-4, 4:-4])
    thick = changes.resliced(image, 10.0)
    assert thick.GetSize()[2] == 35
    assert sitk.GetArrayFromImage(thick).mean() == pytest.approx(array.mean(), abs=0.1)
    assert np.isclose(Grid.of_image(thick).shape[0] * Grid.of_image(thick).spacing_mm[0], 70 * grid.spacing_mm[0])
    noisy = sitk.GetArrayFromImage(changes.noisy(image, 50, 1)).astype(float) - array
    assert noisy.std() == pytest.approx(50, rel=0.02)


def test_a_smoother_kernel_has_less_noise_and_a_sharper_one_more() -> None:
    image = phantom_image()
    image.SetSpacing((1.0, 1.0, 5.0))
    inside = (slice(30, 40), slice(25, 40), slice(16, 22))
    assert phantom()[1][inside].all()
    smooth, sharp = (
        sitk.GetArrayFromImage(put(image))[inside] for name, put in changes.changes().items() if "kernel" in name
    )
    assert 1.5 * smooth.std() < sitk.GetArrayFromImage(image)[inside].std() < sharp.std() / 1.2


def test_smoothing_takes_away_noise_and_no_hole() -> None:
    hu, labels = phantom()
    noisy = phantom_image()
    rng = np.random.default_rng(3)
    loud = (hu + rng.normal(0, 60, hu.shape)).astype(np.int16)
    noisy_image = Grid.of_image(noisy).to_image(loud)
    raw = 100 * (loud[labels > 0] < -950).mean()
    assert raw > 5 > 0.5 > real.smoothed_laa(noisy_image, labels, sigma_mm=8)
    hole = hu.copy()
    hole[30:40, 25:40, 15:25] = -1000
    found_percent = real.smoothed_laa(Grid.of_image(noisy).to_image(hole), labels, sigma_mm=1)
    truth = 100 * (hole[labels > 0] < -950).mean()
    assert found_percent == pytest.approx(truth, rel=0.1)


def test_the_whole_report_is_written_on_a_small_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "SLICES_MM", ())
    monkeypatch.setattr(changes, "NOISES_HU", ())
    model = tmp_path / "model.safetensors"
    of = everymodel.model_of("conv_lstm")
    modelfile.save(model, of.network, of.card)
    image = phantom_image()
    lungs = segment_lungs(image) > 0
    lines = ["volume,label,patient,split,kernel,lesions,subtype,extent_percent,laa_950_percent,perc15_hu,anatomy"]
    for number in range(4):
        sick, name = number % 2, f"v{number}"
        array = sitk.GetArrayFromImage(image)
        share = np.zeros(array.shape, np.uint8)
        share[20:40][lungs[20:40]] = 255 * sick
        array[share > 0] = -985
        sitk.WriteImage(Grid.of_image(image).to_image(array + np.int16(number)), str(tmp_path / f"{name}.nrrd"))
        sitk.WriteImage(Grid.of_image(image).to_image(share), str(tmp_path / f"{name}-lesions.nrrd"))
        kind = "panlobular,30" if sick else ",0"
        lines.append(f"{name}.nrrd,{sick},p{number},test,smooth,{name}-lesions.nrrd,{kind},{30 * sick},-900,phantom")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "real.csv").write_text("volume,name,what_is_known\nv1.nrrd,one | two,nothing\ngone.nrrd,gone,nothing\n")

    material = Material(tmp_path / "manifest.csv", scans=tmp_path / "real.csv")
    written = write_report([model], material, tmp_path / "report", Amount(where_cases=1))

    text = written.read_text()
    for words in (
        "Simulated cases",
        "| gone | nothing | - | missing |",
        "one \\| two",
        "Where it looks",
        "does not know",
    ):
        assert words in text
    with (written.parent / "where.csv").open() as file:
        maps = {row["map"]: row for row in csv.DictReader(file)}
    assert maps["the lesions themselves"]["AUPRC"].startswith("1.000")
    assert {"evidence", "gradient attribution", "activation desc2", "random lung"} <= set(maps)
    with (written.parent / "simulated-disease.csv").open() as file:
        assert next(csv.DictReader(file))["AUC of LAA%-950"].startswith("1.000")
    assert "flipped left-right" in text
    with (written.parent / "simulated-cuts.csv").open() as file:
        shown = {row["cases"]: row for row in csv.DictReader(file)}
    missing = [f"{end} 40 % missing{of}" for end in ("upper", "lower") for of in ("", ": the same cases whole")]
    assert list(shown) == ["as they are", "upside down", *missing]
    assert {row["with / without"] for row in shown.values()} == {"2 / 2"}
    assert shown["lower 40 % missing"]["AUC of Perc15"].startswith("1.000")


def test_a_cut_ct_lacks_an_end_of_its_lungs() -> None:
    image, labels = phantom_image(), phantom()[1]
    used = np.flatnonzero(labels.any((1, 2)))
    missing = round(0.4 * len(used))
    whole = sitk.GetArrayFromImage(image)
    upper, lower = (sitk.GetArrayFromImage(cuts.cut(image, labels, shown)) for shown in cuts.CUTS)
    assert np.array_equal(upper, whole[: used[-1] + 1 - missing])
    assert np.array_equal(lower, whole[used[0] + missing :])


def test_a_ct_upside_down_is_read_from_the_other_end(tmp_path: Path) -> None:
    sitk.WriteImage(phantom_image(), str(tmp_path / "well.nrrd"))
    shots, _ = cuts._shots([everymodel.model_of("conv_lstm")], CohortRow(tmp_path / "well.nrrd", 0, "a"), 0)
    (whole, (x,)), (turned, (y,)), *_ = shots
    assert (whole.shown, turned.shown) == (cuts.Shown.WHOLE, cuts.Shown.TURNED)
    assert torch.equal(y, x.flip(0))
    assert turned.laa_950_percent == whole.laa_950_percent


def test_disease_that_lies_in_the_missing_part_does_not_count(tmp_path: Path) -> None:
    image, labels = phantom_image(), phantom()[1]
    share = np.zeros(labels.shape, np.uint8)
    middle = int(np.median(np.flatnonzero(labels.any((1, 2)))))
    share[middle + 15 :] = 255 * (labels[middle + 15 :] > 0)  # at the top
    for name, array in (("ill", sitk.GetArrayFromImage(image)), ("lesions", share)):
        sitk.WriteImage(Grid.of_image(image).to_image(array), str(tmp_path / f"{name}.nrrd"))
    sitk.WriteImage(image, str(tmp_path / "well.nrrd"))
    rows = [
        CohortRow(tmp_path / "well.nrrd", 0, "a"),
        CohortRow(tmp_path / "ill.nrrd", 1, "b", lesions=tmp_path / "lesions.nrrd"),
    ]
    (table,) = cuts.cuts([everymodel.model_of("conv_lstm")], rows).tables
    counted = {row[0]: row[1] for row in table.rows}
    assert counted["upper 40 % missing"] == "0 / 1"
    assert counted["lower 40 % missing"] == "1 / 1"


def test_cases_are_spread_over_the_extents_of_disease(tmp_path: Path) -> None:
    rows = [CohortRow(Path(f"{k}"), 1, f"{k}", extra={"extent_percent": str(k)}) for k in (5, 1, 9, 3, 7)]
    assert [row.patient for row in spread(rows, 2)] == ["3", "7"]
    assert len(spread(rows, 50)) == 5
