"""NLST as a cohort: labels by the paper's rule, one fitting series an exam, all that is left out is counted."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from EmphysemaScannerLib.base.errors import MissingPackageError
from EmphysemaScannerLib.cohort.manifest import read_manifest
from EmphysemaScannerLib.cohort.nlst import NLSTCohort, Wanted, nlst_cohort
from EmphysemaScannerLib.cohort.tables import TableError
from EmphysemaScannerLib.commands import cli

duckdb = pytest.importorskip("duckdb")

# The columns of NLST's table of CT abnormalities, in its order; .M and .N are SAS's missing values.
CTAB = """\
pid,study_yr,sct_ab_num,sct_ab_desc,sct_epi_loc,sct_long_dia,sct_perp_dia,sct_margins,sct_pre_att,sct_slice_num,\
sct_found_after_comp,dataset_version
100001,0,1,51,1,8,6,1,1,44,,2011.02.03/10.10.12
100001,2,1,59,.N,.N,.N,.N,.N,.N,,2011.02.03/10.10.12
100001,2,2,59,.N,.N,.N,.N,.N,.N,,2011.02.03/10.10.12
100002,1,1,60,.N,.N,.N,.N,.N,.N,,2011.02.03/10.10.12
100002,1,2,.M,.N,.N,.N,.N,.N,.N,,2011.02.03/10.10.12
100009,0,1,59,.N,.N,.N,.N,.N,.N,,2011.02.03/10.10.12
"""
PRSN = "pid,rndgroup,age,gender\n100001,1,61,1\n100002,1,70.0,2\n100004,2,58,1\n"

INDEX_TYPES = {
    "collection_id": "VARCHAR",
    "PatientID": "VARCHAR",
    "SeriesInstanceUID": "VARCHAR",
    "StudyInstanceUID": "VARCHAR",
    "StudyDate": "VARCHAR",
    "Modality": "VARCHAR",
    "Manufacturer": "VARCHAR",
    "SeriesDescription": "VARCHAR",
    "instanceCount": "BIGINT",
    "series_aws_url": "VARCHAR",
    "series_size_MB": "DOUBLE",
}
# participant, exam, series, description, slices
SERIES = [
    ("100001", "1.10", "1.101", "0,OPA,GE,LSPLUS,STANDARD,360,2.5,120,80,0.1,1.5", 130),
    ("100001", "1.10", "1.102", "0,OPA,GE,LSPLUS,STANDARD,360,2.5,120,80,0.1,1.5", 140),  # taken: more slices
    ("100001", "1.10", "1.103", "0,OSA,GE,LSPLUS,STANDARD,360,2.5,120,80,0.1,1.5", 150),  # secondary
    ("100001", "1.10", "1.104", "0,OPA,GE,LSPLUS,BONE,360,2.5,120,80,0.1,1.5", 200),
    ("100001", "1.10", "1.105", "0,OPL,SE,VZOOM,T20s,1,024,na,120,171.6,171,na", 2),
    ("100001", "1.12", "1.121", "2,OPA,SE,VZOOM,B30f,300,2,120,75,40,na", 100),  # taken
    ("100002", "1.20", "1.201", "0,OPA,PH,MX8000,C,306,3.2,120,39,0,1.8", 99),
    ("100002", "1.21", "1.212", "1,OPA,TO,AQUL4,FC10,306,2,120,39,0,1.8", 250),
    ("100002", "1.21", "1.211", "1,OPA,TO,AQUL4,FC10,306,2,120,39,0,1.8", 250),  # taken: first by number
    ("100002", "1.22", "1.221", "2,OPA,TO,AQUL4,FC51,306,2,120,39,0,1.8", 180),
    ("100003", "1.30", "1.301", "0,OPA,GE,LSPLUS,STANDARD,360,2.5,120,80,0.1,1.5", 120),  # taken
    ("100003", "1.31", "1.311", "1,OPA,GE,LSPLUS,STANDARD,360,2.5,120,80,0.1,1.5", 251),
    ("100003", "1.31", "1.312", "1,DSR,GE,LSPLUS,STANDARD,360,2.5,120,80,0.1,1.5", 120),
    ("100003", "1.31", "1.313", None, 120),
]


def write_index(path: Path, types: dict[str, str] = INDEX_TYPES) -> Path:
    rows = [
        ("nlst", patient, series, exam, "1999-01-02", "CT", "a maker", text, slices, f"s3://bucket/{series}/*", 500.0)
        for patient, exam, series, text, slices in SERIES
    ]
    rows.append(("nlst", "100001", "1.9", "1.10", "", "SEG", "", "", 1, "", 1.0))
    rows.append(("lidc_idri", "100001", "1.8", "1.8", "", "CT", "", "0,OPA,GE,x,STANDARD", 120, "", 1.0))
    with duckdb.connect() as database:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
        database.execute(f"CREATE TABLE made ({columns})")
        database.executemany(
            f"INSERT INTO made VALUES ({', '.join('?' * len(types))})", [r[: len(types)] for r in rows]
        )
        database.execute(f"COPY made TO '{path}' (FORMAT parquet)")
    return path


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return write_index(tmp_path / "idc_index.parquet")


@pytest.fixture
def ctab(tmp_path: Path) -> Path:
    path = tmp_path / "nlst_ctab.csv"
    path.write_text(CTAB)
    return path


@pytest.fixture
def prsn(tmp_path: Path) -> Path:
    path = tmp_path / "nlst_prsn.csv"
    path.write_text(PRSN)
    return path


def taken(cohort: NLSTCohort) -> dict[str, int]:
    return {row.series: row.label for row in cohort.rows}


def test_emphysema_in_any_year_makes_every_volume_of_a_participant_positive_and_no_finding_makes_it_negative(
    ctab: Path, index: Path, tmp_path: Path
) -> None:
    cohort = nlst_cohort(ctab, index, tmp_path, Wanted())
    assert taken(cohort) == {"1.102": 1, "1.121": 1, "1.211": 0, "1.301": 0}
    assert cohort.without_findings == 1
    assert cohort.without_ct == 1


def test_each_series_that_is_left_out_is_counted_once_with_its_reason(ctab: Path, index: Path, tmp_path: Path) -> None:
    steps = nlst_cohort(ctab, index, tmp_path, Wanted()).steps
    assert [(step.title, step.left_out, step.series, step.exams, step.participants) for step in steps] == [
        ("CT series of NLST in the index", 0, 14, 7, 3),
        ("localizer", 1, 13, 7, 3),
        ("not axial (reformatted or projected)", 2, 11, 7, 3),
        ("kernel none of STANDARD, B30f, C, FC01, FC02, FC10", 2, 9, 6, 3),
        ("fewer than 100 slices", 1, 8, 5, 3),
        ("more than 250 slices", 1, 7, 4, 3),
        ("another series of the exam taken", 3, 4, 4, 3),
    ]


def test_slice_counts_and_kernels_can_be_chosen(ctab: Path, index: Path, tmp_path: Path) -> None:
    sharp = Wanted(kernels=("BONE", "FC51"), min_slices=99, max_slices=251)
    assert [*taken(nlst_cohort(ctab, index, tmp_path, sharp))] == ["1.104", "1.221"]
    anything = Wanted(any_kernel=True)
    assert [*taken(nlst_cohort(ctab, index, tmp_path, anything))] == ["1.102", "1.121", "1.211", "1.221", "1.301"]


def test_the_participant_table_adds_age_and_sex(ctab: Path, index: Path, prsn: Path, tmp_path: Path) -> None:
    cohort = nlst_cohort(ctab, index, tmp_path, Wanted(), prsn)
    assert [(row.patient, row.extra["age"], row.extra["sex"]) for row in cohort.rows] == [
        ("100001", "61", "M"),
        ("100001", "61", "M"),
        ("100002", "70", "F"),
        ("100003", "", ""),
    ]


def test_tables_are_the_same_in_parquet_and_whatever_the_folder_is_called(index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "it's [1]*"
    folder.mkdir()
    (tmp_path / "ctab.csv").write_text(CTAB)
    with duckdb.connect() as database:
        database.execute(f"COPY (SELECT * FROM '{tmp_path}/ctab.csv') TO '{tmp_path}/ctab.parquet' (FORMAT parquet)")
    ctab = (tmp_path / "ctab.parquet").rename(folder / "nlst_ctab")
    index = index.rename(folder / "idc_index.parquet")
    assert taken(nlst_cohort(ctab, index, tmp_path, Wanted())) == {"1.102": 1, "1.121": 1, "1.211": 0, "1.301": 0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pid,study_yr\n1,0\n", "nlst_ctab.csv lacks the column sct_ab_desc"),
        ("pid,study_yr,sct_ab_desc\n1,0,51\n", "no row with emphysema"),
        ("", "nlst_ctab.csv"),
        ("PAR1 and then nonsense", "cannot be read as CSV or Parquet"),
    ],
)
def test_a_wrong_table_is_one_sentence(
    index: Path, tmp_path: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ctab = tmp_path / "nlst_ctab.csv"
    ctab.write_text(text)
    with pytest.raises(SystemExit) as ended:
        cli.main(["cohort", "nlst", "--ctab", str(ctab), "--index", str(index), "--out", str(tmp_path / "m.csv")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.strip().splitlines()) == 1
    assert not [*tmp_path.glob("m*")]


def test_a_table_without_a_participant_of_the_index_is_refused(ctab: Path, index: Path, prsn: Path) -> None:
    nlst_cohort(ctab, index, ctab.parent, Wanted(), prsn)
    prsn.write_text("pid,age,gender\n700001,61,1\n")
    with pytest.raises(TableError, match=r"None of the participants \(pid\) in nlst_prsn.csv"):
        nlst_cohort(ctab, index, ctab.parent, Wanted(), prsn)
    ctab.write_text("pid,study_yr,sct_ab_desc\n700001,0,59\n")
    with pytest.raises(TableError, match=r"in nlst_ctab.csv has a CT in idc_index.parquet"):
        nlst_cohort(ctab, index, ctab.parent, Wanted())
    with duckdb.connect() as database:
        database.execute(
            f"COPY (SELECT * FROM '{index}' WHERE collection_id <> 'nlst') TO '{index}.2' (FORMAT parquet)"
        )
    with pytest.raises(TableError, match="has no CT series of NLST"):
        nlst_cohort(ctab, index.with_name("idc_index.parquet.2"), ctab.parent, Wanted())


def test_a_wrong_index_and_a_choice_that_leaves_nothing_are_named(ctab: Path, index: Path, tmp_path: Path) -> None:
    short = dict([*INDEX_TYPES.items()][:-1])
    with pytest.raises(TableError, match="series_size_MB"):
        nlst_cohort(ctab, write_index(tmp_path / "short.parquet", short), tmp_path, Wanted())
    with pytest.raises(TableError, match=r"nowhere\.parquet"):
        nlst_cohort(ctab, tmp_path / "nowhere.parquet", tmp_path, Wanted())
    with pytest.raises(TableError, match="fits; allow more"):
        nlst_cohort(ctab, index, tmp_path, Wanted(min_slices=1000, max_slices=2000))


def test_without_duckdb_the_command_to_install_it_is_told(
    ctab: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(MissingPackageError, match=r"pip install duckdb"):
        nlst_cohort(ctab, index, tmp_path, Wanted())


def test_the_command_writes_a_manifest_with_its_flow_and_download_list(
    ctab: Path, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cohort" / "nlst.csv"
    out.parent.mkdir()
    command = ["cohort", "nlst", "--ctab", str(ctab), "--index", str(index), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 0
    rows = read_manifest(out)
    assert [(row.study, row.kernel, row.extra["study_yr"]) for row in rows] == [
        ("1.10", "STANDARD", "0"),
        ("1.12", "B30f", "2"),
        ("1.21", "FC10", "1"),
        ("1.30", "STANDARD", "0"),
    ]
    commands = [line.split() for line in (out.parent / "nlst.s5cmd").read_text().splitlines() if line[0] != "#"]
    assert commands[0] == ["cp", "s3://bucket/1.102/*", "nlst/100001/1.10/CT_1.102/"]
    assert [out.parent / folder for _, _, folder in commands] == [row.volume for row in rows]
    with (out.parent / "nlst-flow.csv").open(newline="") as file:
        assert [line["left_out"] for line in csv.DictReader(file)] == ["0", "1", "2", "2", "1", "1", "3"]
    flow = (out.parent / "nlst-flow.md").read_text()
    assert "| noted in any year | 2 | 1 |" in flow
    assert "4 volumes to download, 2 GB" in flow
    assert "localizer" in capsys.readouterr().out
    before = out.read_bytes()
    with pytest.raises(SystemExit):
        cli.main(command)
    assert "exists already" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_the_real_index_gives_the_same_flow_as_the_documentation(tmp_path: Path) -> None:
    idc = pytest.importorskip("idc_index_data", reason="79 MB; pip install idc-index-data")
    if idc.__version__ != "25.0.5":
        pytest.skip("the figures are of idc-index-data 25.0.5")
    ctab = tmp_path / "nlst_ctab.csv"
    ctab.write_text("pid,study_yr,sct_ab_desc\n100002,0,59\n")
    cohort = nlst_cohort(ctab, idc.IDC_INDEX_PARQUET_FILEPATH, tmp_path, Wanted())
    assert [(step.left_out, step.series, step.exams, step.participants) for step in cohort.steps] == [
        (0, 203_111, 73_113, 26_254),
        (65_177, 137_934, 73_044, 26_253),
        (383, 137_551, 73_029, 26_250),
        (59_028, 78_523, 67_590, 24_875),
        (10_055, 68_468, 67_058, 24_804),
        (6_580, 61_888, 61_244, 23_390),
        (644, 61_244, 61_244, 23_390),
    ]
    assert Counter(Counter(row.study for row in cohort.rows).values()) == {1: 61_244}
