"""NLST as a cohort: labels from its table of CT abnormalities, series from the index of the Imaging Data Commons.

Labels follow Braman et al. (2018), section 2.1: a participant is positive when emphysema was noted in any of the three
screening years, negative when in none. The table has a row for each abnormality that was seen, so a participant who was
screened and has no row is negative. The index has no clinical data; docs/cohorts.md says where the table comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .manifest import CohortRow
from .tables import Database, TableError, code, open_database

EMPHYSEMA = 59  # sct_ab_desc
# The fifth field of NLST's series descriptions: soft or standard kernels of GE, Siemens, Philips and Toshiba.
SOFT_KERNELS = ("STANDARD", "B30f", "C", "FC01", "FC02", "FC10")

_INDEX_COLUMNS = (
    "collection_id",
    "Modality",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "Manufacturer",
    "instanceCount",
    "series_aws_url",
    "series_size_MB",
)


@dataclass(frozen=True)
class Wanted:
    """Which series fit.

    Attributes:
        kernels: reconstruction kernels.
        any_kernel: whether an exam that has none of them is kept with another.
        min_slices: fewest slices.
        max_slices: most slices.
    """

    kernels: tuple[str, ...] = SOFT_KERNELS
    any_kernel: bool = False
    min_slices: int = 100
    max_slices: int = 250


@dataclass(frozen=True)
class Step:
    """A step of the flow: what is left out, and what goes on.

    Attributes:
        title: what is left out; of the first step what there is.
        left_out: series that end here.
        series: series that go on.
        exams: their exams (studies).
        participants: their participants.
    """

    title: str
    left_out: int
    series: int
    exams: int
    participants: int


@dataclass(frozen=True)
class NLSTCohort:
    """NLST's volumes with their labels.

    Attributes:
        rows: one volume for each exam, by participant and year.
        steps: how they were chosen, from every CT series of NLST to these.
        without_findings: participants of the rows without a row in the table of abnormalities, who are negative.
        without_ct: participants of the table of abnormalities without a CT in the index.
        urls: where a series' files are, such as ``s3://idc-open-data/.../*``.
        sizes_gb: of a series' files.
    """

    rows: tuple[CohortRow, ...]
    steps: tuple[Step, ...]
    without_findings: int
    without_ct: int
    urls: dict[str, str]
    sizes_gb: dict[str, float]


def nlst_cohort(ctab: Path, index: Path, folder: Path, wanted: Wanted, prsn: Path | None = None) -> NLSTCohort:
    """Choose NLST's series and label them.

    Of an exam's series that fit one is taken: a wanted kernel before others, an original before a derived image, more
    slices before fewer, then the first by SeriesInstanceUID: the same tables always give the same cohort.

    Args:
        ctab: NLST's table of CT abnormalities (CSV or Parquet) with pid, study_yr, sct_ab_desc.
        index: ``idc_index.parquet`` of the package idc-index-data.
        folder: where the volumes will be downloaded to.
        wanted: which series fit.
        prsn: NLST's participant table (CSV or Parquet) with pid, age, gender; adds age and sex.

    Raises:
        MissingPackageError: DuckDB is not installed.
        TableError: a table cannot be read, lacks a column, holds nothing of use, or has no participant of the index.
    """
    folder = Path(folder).absolute()
    with open_database() as database:
        _read_labels(database, Path(ctab))
        _read_participants(database, prsn)
        _read_series(database, Path(index))
        _check_participants_met(database, Path(ctab), prsn, Path(index))
        steps = _choose(database, wanted)
        if not steps[-1].series:
            raise TableError(f"No series of {Path(index).name} fits; allow more kernels or slice counts.")
        rows: list[CohortRow] = []
        urls: dict[str, str] = {}
        sizes: dict[str, float] = {}
        for about, label, slices, url, size in database.rows(
            "SELECT [patient, study, series, kernel, year, maker, age, sex], label, slices, url, size_gb FROM chosen "
            "LEFT JOIN participants USING (patient) ORDER BY patient, year, study"
        ):
            patient, study, series, kernel, year, maker, age, sex = (text or "" for text in about)
            # The folders that idc-index makes too, so that either program downloads to the same place.
            volume = folder.joinpath("nlst", patient, study, f"CT_{series}")
            extra = {"study_yr": year, "slices": str(slices), "manufacturer": maker, "url": url}
            if prsn is not None:
                extra |= {"age": age, "sex": sex}
            rows.append(CohortRow(volume, label, patient, extra=extra, study=study, series=series, kernel=kernel))
            urls[series], sizes[series] = url, size
        return NLSTCohort(
            tuple(rows),
            steps,
            database.number("SELECT count(DISTINCT patient) FROM chosen ANTI JOIN labels USING (patient)"),
            database.number("SELECT count(*) FROM labels ANTI JOIN series USING (patient)"),
            urls,
            sizes,
        )


def _read_labels(database: Database, ctab: Path) -> None:
    """labels: patient, label. A participant has any number of rows, of any of the years."""
    database.create(
        "labels",
        ctab,
        ("pid", "study_yr", "sct_ab_desc"),
        f"SELECT CAST({code('pid')} AS VARCHAR) AS patient, "
        f"CAST(coalesce(bool_or({code('sct_ab_desc')} = {EMPHYSEMA}), false) AS INTEGER) AS label "
        f"FROM {{source}} WHERE {code('pid')} IS NOT NULL AND {code('study_yr')} IN (0, 1, 2) GROUP BY 1",
    )
    if not database.number("SELECT count(*) FROM labels WHERE label = 1"):
        raise TableError(
            f"{ctab.name} has no row with emphysema (sct_ab_desc {EMPHYSEMA}); is it NLST's table of CT abnormalities?"
        )


def _read_participants(database: Database, prsn: Path | None) -> None:
    """participants: patient, age, sex; none without the table."""
    if prsn is None:
        database.execute("CREATE TABLE participants (patient VARCHAR, age VARCHAR, sex VARCHAR)")
        return
    database.create(
        "participants",
        Path(prsn),
        ("pid", "age", "gender"),
        f"SELECT CAST({code('pid')} AS VARCHAR) AS patient, CAST(max({code('age')}) AS VARCHAR) AS age, "
        f"CASE max({code('gender')}) WHEN 1 THEN 'M' WHEN 2 THEN 'F' END AS sex "
        "FROM {source} GROUP BY 1",
    )


def _read_series(database: Database, index: Path) -> None:
    """series: NLST's CT series. Their descriptions read year, image type, maker, model, kernel, field of view, ..."""
    database.create(
        "series",
        index,
        _INDEX_COLUMNS,
        "SELECT PatientID AS patient, StudyInstanceUID AS study, SeriesInstanceUID AS series, "
        "coalesce(string_split(SeriesDescription, ','), []) AS fields, fields[1] AS year, "
        "coalesce(fields[2], '') AS kind, coalesce(fields[5], '') AS kernel, Manufacturer AS maker, "
        "instanceCount AS slices, series_aws_url AS url, series_size_MB / 1000 AS size_gb "
        "FROM {source} WHERE collection_id = 'nlst' AND Modality = 'CT'",
    )


def _check_participants_met(database: Database, ctab: Path, prsn: Path | None, index: Path) -> None:
    """Refuse tables of other participants: without findings, all of the index's would be negative."""
    if not database.number("SELECT count(*) FROM series"):
        raise TableError(
            f"{index.name} has no CT series of NLST; give idc_index.parquet of the package idc-index-data."
        )
    for table, path in (("labels", ctab), ("participants", prsn)):
        if path is not None and not database.number(f"SELECT count(*) FROM {table} SEMI JOIN series USING (patient)"):
            raise TableError(
                f"None of the participants (pid) in {Path(path).name} has a CT in {index.name}; give NLST's own table, "
                "whose pid are the index's PatientID."
            )


def _choose(database: Database, wanted: Wanted) -> tuple[Step, ...]:
    """chosen: the series taken, with their labels. Each other one ends at the first step that it does not pass."""
    refused = [
        ("localizer", "kind LIKE '__L'"),
        ("not axial (reformatted or projected)", "kind NOT LIKE '__A'"),
        (f"fewer than {wanted.min_slices} slices", f"slices < {wanted.min_slices}"),
        (f"more than {wanted.max_slices} slices", f"slices > {wanted.max_slices}"),
    ]
    if not wanted.any_kernel:
        kernels = ", ".join(wanted.kernels)
        refused.insert(2, (f"kernel none of {kernels}", "NOT preferred"))
    last = len(refused)
    ends = " ".join(f"WHEN {reason} THEN {step}" for step, (_, reason) in enumerate(refused, 1))
    # A series ends at its step; those that pass all compete within their exam, and the first of each goes on.
    database.execute(
        "CREATE TABLE judged AS WITH "
        "liked AS (SELECT *, list_contains($kernels, kernel) AS preferred FROM series), "
        f"ended AS (SELECT *, CASE {ends} ELSE {last + 1} END AS reached FROM liked), "
        "placed AS (SELECT *, row_number() OVER (PARTITION BY study, reached ORDER BY "
        "preferred DESC, kind LIKE 'O%' DESC, kind LIKE '_P%' DESC, slices DESC, series) AS place FROM ended) "
        f"SELECT *, CASE WHEN reached = {last + 1} AND place = 1 THEN {last + 2} ELSE reached END AS step FROM placed",
        kernels=list(wanted.kernels),
    )
    database.execute(
        "CREATE TABLE chosen AS SELECT judged.*, coalesce(label, 0) AS label "
        f"FROM judged LEFT JOIN labels USING (patient) WHERE step = {last + 2}"
    )
    titles = ["CT series of NLST in the index", *(title for title, _ in refused), "another series of the exam taken"]
    steps = []
    for number, title in enumerate(titles):
        on = f"FILTER (step > {number})"
        ((left_out, *going_on),) = database.rows(
            f"SELECT count(*) FILTER (step = {number}), count(*) {on}, count(DISTINCT study) {on}, "
            f"count(DISTINCT patient) {on} FROM judged"
        )
        steps.append(Step(title, left_out, *going_on))
    return tuple(steps)
