"""CTs of a list that are in a DICOM archive, copied and scanned by the workers of a cluster."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import archivedct
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.batch.batch import addresses_of, find_cts, run_batch
from webarchive import WebArchive, header, web_archive

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="dask.distributed is not installed (pip install 'emphysema-scanner[cluster]')",
)
STUDIES = ("1.2.826.0.1.3680043.2.1143.11", "1.2.826.0.1.3680043.2.1143.12")


def fill(archive: WebArchive, folder: Path, chest: sitk.Image) -> None:
    for k, study in enumerate(STUDIES):
        archive.add(archivedct.write_series(folder / study, chest + 5 * k, StudyInstanceUID=study))


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    found = {Path(row["source"]).name: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_an_archive_that_breaks_off_refuses_one_ct_and_repeating_the_batch_scans_it(
    tiny_chest: sitk.Image, model_path: Path, tmp_path: Path
) -> None:
    listed, out = tmp_path / "list.csv", tmp_path / "out.csv"
    with web_archive() as archive:
        fill(archive, tmp_path / "store", tiny_chest)
        listed.write_text("volume,url\n" + "".join(f"{one},{archive.address}/studies/{one}\n" for one in STUDIES))
        sources, at = find_cts(listed), addresses_of(listed)
        run_batch(sources, tmp_path / "one.csv", model_path, at=at)
        archive.sent = lambda k, sent: None if k == 5 and header(sent).StudyInstanceUID == STUDIES[1] else sent
        first = run_batch(sources, out, model_path, at=at, processes=2, cluster="local")
        assert (first.done, first.refused) == (1, 1)
        assert "sent 5 of the" in rows_of(out)[STUDIES[1]]["problem"]
        archive.sent, archive.requests = lambda _k, sent: sent, []
        again = run_batch(sources, out, model_path, at=at, retry=True)
    assert (again.done, again.kept) == (2, 1)
    assert {one for one in STUDIES if any(one in request for request in archive.requests)} == {STUDIES[1]}
    assert rows_of(out) == rows_of(tmp_path / "one.csv")
