"""Batches that measure everything: further columns, rows that are scanned again for them, tables without them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from EmphysemaScannerLib.base.rowfile import line
from EmphysemaScannerLib.batch import columns, row
from EmphysemaScannerLib.batch.batch import run_batch
from EmphysemaScannerLib.batch.figures import FIGURES, figures_of
from EmphysemaScannerLib.batch.parquet import write_parquet
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.lungs import measures
from EmphysemaScannerLib.lungs.densitometry import measure_lungs
from EmphysemaScannerLib.lungs.further import measure_further
from EmphysemaScannerLib.lungs.scope import Scope
from EmphysemaScannerLib.scan.result import ScanResult
from phantom import SPACING_MM, phantom

Table = list[dict[str, str]]


@pytest.fixture(scope="module")
def further() -> Callable[[Scope], object]:
    hu, labels = phantom()
    lungs = measure_lungs(hu, labels, SPACING_MM)
    found = {scope: measure_further(hu, labels, SPACING_MM, lungs, scope, sharp=False) for scope in Scope}
    return found.__getitem__


@pytest.fixture
def cts(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.nrrd", "b.nrrd")]
    for path in paths:
        path.touch()
    return paths


@pytest.fixture
def scanned(
    monkeypatch: pytest.MonkeyPatch, make_result: Callable[..., ScanResult], further: Callable[[Scope], object]
) -> list[tuple[str, Scope]]:
    """The CTs that were scanned, and what was measured of them, without the network's seconds."""
    asked: list[tuple[str, Scope]] = []

    def scan_on(*arguments: object, measure: Scope, **_options: object) -> ScanResult:
        asked.append((str(arguments[4]), measure))
        return make_result(measurements=further(measure))

    monkeypatch.setattr("EmphysemaScannerLib.batch.row.scan_on", scan_on)
    monkeypatch.setattr("EmphysemaScannerLib.batch.scanning.read_ct", lambda path: path)
    return asked


def table(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def without_seconds(rows: Table) -> Table:
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in rows]


def test_every_measure_has_a_column_for_both_lungs() -> None:
    named = {figure.measure for figure in FIGURES if figure.place.region == "whole"}
    assert named == {value for value in vars(measures).values() if isinstance(value, measures.LungMeasure)}
    wide = row.columns_of(Scope.ALL)
    assert len(set(wide)) == len(wide)
    assert wide == tuple(column.name for column in columns.columns_of(Scope.ALL))
    assert {"laa_910_percent", "right_lung_laa_950_percent", "left_upper_lobe_clusters_exponent"} < {*wide}


def test_a_table_for_which_not_everything_is_measured_has_the_usual_columns_only(
    cts: list[Path], scanned: list[tuple[str, Scope]], model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    run_batch(cts, out, model_path)
    header, *lines = out.read_text().splitlines()
    # As versions without further columns wrote it.
    assert header.split(",")[-1] == "left_lower_lobe_evidence_share_percent"
    assert tuple(header.split(",")) == row.COLUMNS
    assert len(row.COLUMNS) == 49
    assert {len(line.split(",")) for line in lines} == {49}
    before = out.read_bytes()
    assert run_batch(cts, out, model_path).kept == 2
    assert out.read_bytes() == before


def test_rows_of_which_less_was_measured_are_scanned_again(
    cts: list[Path], scanned: list[tuple[str, Scope]], model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    run_batch(cts, out, model_path)
    usual = table(out)

    def stop(fraction: float, stage: str) -> None:
        if fraction >= 0.5 and "2" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(cts, out, model_path, measure=Scope.ALL, progress=stop)
    assert sorted(row["measure"] for row in table(out)) == ["", "all"]
    assert run_batch(cts, out, model_path, measure=Scope.ALL).kept == 1
    assert scanned[2:] == [("a.nrrd", Scope.ALL), ("b.nrrd", Scope.ALL)]
    wide = table(out)
    assert all(row["measure"] == "all" and float(row["clusters_bulla_count"]) >= 0 for row in wide)
    kept = [{name: row[name] for name in usual[0]} for row in wide]
    assert without_seconds(kept) == without_seconds(usual)
    # Everything that a later run without the option asks for is there.
    before = out.read_bytes()
    assert run_batch(cts, out, model_path).kept == run_batch(cts, out, model_path, measure=Scope.ALL).kept == 2
    assert out.read_bytes() == before


def test_a_done_row_stays_when_its_ct_is_not_there_to_be_measured(
    cts: list[Path], scanned: list[tuple[str, Scope]], model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    run_batch(cts, out, model_path)
    cts[0].unlink()
    assert run_batch(cts, out, model_path, measure=Scope.ALL).kept == 1
    assert [(row["status"], row["measure"]) for row in table(out)] == [("done", ""), ("done", "all")]


def test_the_cells_are_the_figures_of_the_scan(
    cts: list[Path],
    scanned: list[tuple[str, Scope]],
    model_path: Path,
    tmp_path: Path,
    make_result: Callable[..., ScanResult],
    further: Callable[[Scope], object],
) -> None:
    out = tmp_path / "out.csv"
    run_batch(cts[:1], out, model_path, measure=Scope.ALL)
    found = make_result(measurements=further(Scope.ALL))
    (cells,) = table(out)
    assert float(cells["right_lung_perc10_hu"]) == found.densitometry["right"].perc10_hu
    assert float(cells["core_laa_950_percent"]) == found.measurements.parts["core"].laa_950_percent
    assert float(cells["clusters_count"]) == found.measurements.clusters["whole"].count
    assert float(cells["zone_score"]) == found.measurements.distribution.zone_score
    smooth = found.measurements.normalised.of_smooth_kernel["left"]
    assert float(cells["left_lung_smooth_kernel_sd_hu"]) == smooth.sd_hu
    assert cells["right_upper_lobe_laa_925_percent"] == cells["expiratory_mean_hu"] == ""
    assert {name for name in row.FURTHER_COLUMNS if cells[name]} == {*figures_of(found)} & {*row.FURTHER_COLUMNS}
    assert write_parquet(out, tmp_path / "out.parquet")
    with duckdb.connect() as database:
        files = f"'{tmp_path}/out.parquet/*/*.parquet'"
        kinds = {name: kind for name, kind, *_ in database.execute(f"DESCRIBE SELECT * FROM {files}").fetchall()}
        read = database.execute(f"SELECT right_lung_perc10_hu, expiratory_mean_hu, measure FROM {files}").fetchall()
    assert {*kinds} == {*row.columns_of(Scope.ALL)}
    assert {kinds[name] for name in (*row.FURTHER_COLUMNS, *row.LOBE_COLUMNS)} == {"DOUBLE"}
    assert read == [(found.densitometry["right"].perc10_hu, None, "all")]


def test_a_large_table_becomes_several_files_of_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("EmphysemaScannerLib.batch.parquet.ROWS_A_FILE", 2)
    rows = [row.BatchRow(f"/{k}", row.DONE if k else row.REFUSED, probability=k / 8) for k in range(6)]
    out = tmp_path / "out.csv"
    out.write_text("".join(map(line, (row.COLUMNS, *(one.cells(row.COLUMNS) for one in rows)))))
    assert write_parquet(out, tmp_path / "out.parquet")
    assert len(list((tmp_path / "out.parquet" / "status=done").iterdir())) == 3
    files = f"'{tmp_path}/out.parquet/*/*.parquet'"
    read = duckdb.sql(f"SELECT source, status, probability FROM {files} ORDER BY source").fetchall()
    assert read == [(one.source, one.status, one.probability) for one in rows]


def test_the_dictionary_has_the_further_columns_when_asked(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["dictionary", "--out", str(tmp_path / "dictionary.csv"), "--measure", "all"])
    assert ended.value.code == 0
    text = (tmp_path / "dictionary.csv").read_text(encoding="utf-8")
    fields = {field["Variable / Field Name"]: field for field in csv.DictReader(io.StringIO(text))}
    assert tuple(fields) == row.columns_of(Scope.ALL)
    field = fields["right_lung_smooth_kernel_laa_950_percent"]
    assert field["Field Label"] == "Lung below -950 HU (LAA%-950), as with a smooth kernel, right lung"
    assert (field["Field Note"], field["Text Validation Max"]) == ("%", "100")
