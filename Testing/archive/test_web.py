"""A CT is copied from an archive and results are sent to it whole, or one sentence says why not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import archivedct
import pydicom
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.archive.fetching import Fetched, check_unchanged, fetch, fetched
from EmphysemaScannerLib.archive.kinds import ObjectKind
from EmphysemaScannerLib.archive.sending import send
from EmphysemaScannerLib.archive.source import ArchiveError
from EmphysemaScannerLib.archive.webaddress import WebAddress, is_web_address
from EmphysemaScannerLib.archive.writing import write_objects
from EmphysemaScannerLib.base.errors import EmphysemaScannerError, NotAChestCTError, ScanCancelled, UnreadableInputError
from EmphysemaScannerLib.batch.source import Source
from EmphysemaScannerLib.ct.reading import read_ct
from EmphysemaScannerLib.scan.result import ScanResult
from webarchive import WebArchive, header, web_archive

STUDY = str(archivedct.STUDY["StudyInstanceUID"])
SEG_AND_SR = frozenset({ObjectKind.SEGMENTATION, ObjectKind.MEASUREMENTS})


@pytest.fixture
def archive() -> Iterator[WebArchive]:
    with web_archive() as archive:
        yield archive


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return archivedct.write_series(tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="module")
def objects(
    series: list[Path], make_result: Callable[..., ScanResult], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    ct = archivedct.read(series[0].parent)
    out = tmp_path_factory.mktemp("objects")
    assert ct.volume
    write_objects(archivedct.result_on(ct, make_result()), ct.volume, out, SEG_AND_SR)
    return out


def study_at(archive: WebArchive) -> WebAddress:
    return WebAddress.parse(f"{archive.address}/studies/{STUDY}")


def refused(archive: WebArchive, tmp_path: Path, words: str, kind: type[EmphysemaScannerError] = ArchiveError) -> None:
    with pytest.raises(kind, match=words) as error:
        fetch(study_at(archive), tmp_path / "copy")
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("text", "service", "study", "series"),
    [
        ("dicomweb://host:8042/dicom-web", "http://host:8042/dicom-web", "", ""),
        ("dicomwebs://host/a/b/studies/1.2", "https://host/a/b", "1.2", ""),
        ("DICOMWEBS://host/studies/1.2/series/3.4/", "https://host", "1.2", "3.4"),
    ],
)
def test_an_address_names_a_service_a_study_and_a_series(text: str, service: str, study: str, series: str) -> None:
    assert is_web_address(text)
    assert WebAddress.parse(text) == WebAddress(text, service, study, series)


@pytest.mark.parametrize(
    "text",
    [
        *("dicomweb:", "dicomweb://", "dicomweb:///studies/1.2", "dicomweb://host:port/studies/1.2"),
        *("dicomweb://h/studies/", "dicomweb://h/studies/../../x", "dicomweb://h/studies/1.2/instances/3"),
        *("dicomweb://h/studies/1.2/series", "dicomweb://h/studies/1.2/series/1.2/instances/3.4", "https://h/"),
        *("dicomweb://h/studies/1.2?x=1", f"dicomweb://h/studies/1.{'2' * 64}"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ArchiveError, match="is no address of a study"):
        WebAddress.parse(text)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ArchiveError, match=r"\.netrc") as error:
        WebAddress.parse("dicomwebs://me:secret@host/studies/1.2")
    assert "secret" not in str(error.value)


def test_a_paths_of_this_machine_are_no_addresses() -> None:
    assert not any(map(is_web_address, ("dicomweb/ct", "C:\\ct", "/ct", "https://host/studies/1.2", "")))


def test_a_study_is_read_as_the_folder_that_it_was_and_nothing_of_it_stays(
    archive: WebArchive, series: list[Path], objects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passing").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "passing"))
    archive.add([*series, *objects.glob("*.dcm")])
    archive.listed = 10  # a search has several answers
    said: list[tuple[float, str]] = []
    with fetched(study_at(archive), lambda share, stage: said.append((share, stage))) as copied:
        assert {path.read_bytes() for path in copied.folder.rglob("*.dcm")} == {path.read_bytes() for path in series}
        there, here = copied.read(), read_ct(series[0].parent)
    assert sitk.Hash(there.image) == sitk.Hash(here.image)
    assert {one.what for one in there.provenance.left_out} == {"modality SEG", "modality SR"}
    assert said[-1] == (1.0, f"Copying from the archive: {len(series)} of {len(series)} slices")
    assert [share for share, _stage in said] == sorted(share for share, _stage in said)
    assert list((tmp_path / "passing").iterdir()) == []


def test_the_rule_for_series_is_that_of_folders(archive: WebArchive, series: list[Path], tmp_path: Path) -> None:
    archive.add([*series, *archivedct.write_series(tmp_path / "other", SeriesNumber=5)])
    with fetched(study_at(archive)) as copied:
        with pytest.raises(
            UnreadableInputError, match=f"'{archive.address}/studies/.*2 equally good CT series"
        ) as error:
            copied.read()
        assert str(copied.folder) not in str(error.value)
        assert "or add /series/ and its UID to the address: " in str(error.value)
        assert copied.read("5").provenance.series
    uid = header(series[0].read_bytes()).SeriesInstanceUID
    with fetched(WebAddress.parse(f"{archive.address}/studies/{STUDY}/series/{uid}")) as copied:
        ct = copied.read()
    assert ct.provenance.series
    assert ct.provenance.series.number == "4"
    assert ct.provenance.left_out == ()


def test_copying_can_be_cancelled(archive: WebArchive, series: list[Path]) -> None:
    archive.add(series)

    def cancel(share: float, _stage: str) -> None:
        if share > 0.3:
            raise ScanCancelled("Cancelled.")

    with pytest.raises(ScanCancelled), fetched(study_at(archive), cancel):
        pass


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, r"wants a user and a password.*\.netrc"),
        (403, "does not allow this"),
        (404, "no such study or series, or no DICOMweb service at this path"),
        (409, "in conflict"),
        (500, "not able to answer now .error 500.; try again later"),
        (418, "refused .error 418."),
    ],
)
def test_a_refusal_is_one_sentence(
    archive: WebArchive, series: list[Path], tmp_path: Path, status: int, words: str
) -> None:
    archive.add(series)
    archive.status["retrieve"] = status
    refused(archive, tmp_path, words)
    archive.status = {"search": status}
    refused(archive, tmp_path / "again", words)


def test_user_and_password_are_those_of_the_netrc_file(
    archive: WebArchive, series: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add(series)
    archive.login = "me:secret"
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    refused(archive, tmp_path, r"wants a user and a password.*\.netrc")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    with fetched(study_at(archive)) as copied:
        assert len(list(copied.folder.rglob("*.dcm"))) == len(series)


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"127\.0\.0\.1:9/web cannot be reached"):
        fetch(WebAddress.parse(f"dicomweb://127.0.0.1:9/web/studies/{STUDY}"), tmp_path)


@pytest.mark.parametrize("kind", ["search", "retrieve"])
def test_a_web_page_is_no_ct(archive: WebArchive, series: list[Path], tmp_path: Path, kind: str) -> None:
    archive.add(series)
    archive.garbage.add(kind)
    refused(archive, tmp_path, "is not DICOMweb")


def test_a_study_that_is_not_there_is_named(archive: WebArchive, series: list[Path], tmp_path: Path) -> None:
    refused(archive, tmp_path, "holds no such study")
    archive.add(series)
    with pytest.raises(ArchiveError, match="holds no such series"):
        fetch(WebAddress.parse(f"{archive.address}/studies/{STUDY}/series/1.2.3"), tmp_path / "copy")
    with pytest.raises(ArchiveError, match="names an archive but no study"):
        fetch(WebAddress.parse(archive.address), tmp_path / "copy")


def test_a_study_without_a_ct_is_refused(archive: WebArchive, objects: Path, tmp_path: Path) -> None:
    archive.add(objects.glob("*.dcm"))
    refused(archive, tmp_path, "is of modality SEG, SR", NotAChestCTError)


def changed(content: bytes, **attributes: object) -> bytes:
    one = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
    for name, value in attributes.items():
        setattr(one, name, value)
    with pydicom.filebase.DicomBytesIO() as out:
        one.save_as(out)
        return out.getvalue()


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (lambda k, content: None if k == 5 else content, "sent 5 of the 35 slices"),
        (lambda k, content: content[:-9] if k == 34 else content, "sent 34 of the 35 slices"),
        (lambda k, content: b"nothing" if k == 5 else content, "is not DICOMweb"),
        (lambda k, content: changed(content, StudyInstanceUID="1.2.9") if k == 5 else content, "of another study"),
        (lambda k, content: changed(content, SOPInstanceUID="1.2.9") if k == 5 else content, "of another study"),
        (lambda k, content: changed(content, PatientID="PID-9") if k == 5 else content, "slices of another patient"),
    ],
    ids=["broken off", "cut", "no DICOM", "another study", "another slice", "another patient"],
)
def test_nothing_is_scanned_of_what_is_not_the_whole_ct(
    archive: WebArchive,
    series: list[Path],
    tmp_path: Path,
    sent: Callable[[int, bytes], bytes | None],
    words: str,
) -> None:
    archive.add(series)
    archive.sent = sent
    refused(archive, tmp_path, words)


def test_a_ct_that_changed_in_the_archive_during_the_scan_is_noticed(
    archive: WebArchive, series: list[Path], tmp_path: Path
) -> None:
    archive.add(series)
    copied: Fetched = fetch(study_at(archive), tmp_path / "copy")
    check_unchanged(copied)
    archive.files.popitem()
    with pytest.raises(ArchiveError, match="changed since it was copied for the scan"):
        check_unchanged(copied)


def test_a_batch_copies_from_an_archive_when_it_is_asked_to(archive: WebArchive, series: list[Path]) -> None:
    archive.add(series)
    with Source(Path("/nowhere"), study_at(archive).text).files() as files:
        assert len(read_ct(files).volume.slices) == len(series)
    assert not files.exists()


def test_sent_is_what_the_archive_has_and_sending_again_changes_nothing(
    archive: WebArchive, series: list[Path], objects: Path
) -> None:
    archive.add(series)
    (objects / "theirs.dcm").write_bytes(series[0].read_bytes())
    for _ in range(2):
        sent = send(objects, WebAddress.parse(archive.address))
        assert (sent.objects, sent.passed_over) == (2, 1)
        assert "Sent 2 DICOM objects" in str(sent)
        assert "1 files are not objects of EmphysemaScanner" in str(sent)
    (objects / "theirs.dcm").unlink()
    assert len(archive.files) == len(series) + 2
    for path in objects.glob("*.dcm"):
        one = pydicom.dcmread(path)
        kept = pydicom.dcmread(pydicom.filebase.DicomBytesIO(archive.files[one.SOPInstanceUID]))
        assert kept == one


def test_an_archive_that_takes_nothing_twice_confirms_by_what_it_holds(
    archive: WebArchive, series: list[Path], objects: Path
) -> None:
    archive.add(series)
    archive.twice = False
    for _ in range(2):
        assert send(objects, WebAddress.parse(archive.address)).objects == 2
    uid = str(pydicom.dcmread(objects / "measurements.dcm").SOPInstanceUID)
    archive.files[uid] = changed(archive.files[uid], SeriesDescription="another")
    with pytest.raises(ArchiveError, match=r"in conflict .* .409; an object with this UID is there already"):
        send(objects, WebAddress.parse(archive.address))


def test_what_is_not_confirmed_is_not_called_sent(archive: WebArchive, series: list[Path], objects: Path) -> None:
    archive.add(series)
    archive.silent = True
    with pytest.raises(ArchiveError, match=r"did not confirm that it stored 'measurements\.dcm'"):
        send(objects, WebAddress.parse(archive.address))


def test_a_kind_that_is_refused_is_named_with_the_reason_and_what_was_sent_before(
    archive: WebArchive, series: list[Path], objects: Path
) -> None:
    archive.add(series)
    archive.refused = {str(pydicom.dcmread(objects / "segmentation.dcm").SOPInstanceUID)}
    words = "409; the archive does not take this kind of object.* Only 1 of 2 objects were sent before"
    with pytest.raises(ArchiveError, match=words):
        send(objects, WebAddress.parse(archive.address))


def test_a_sending_that_breaks_off_is_finished_by_repeating_it(
    archive: WebArchive, series: list[Path], objects: Path
) -> None:
    archive.add(series)
    archive.breaks_after = 1
    with pytest.raises(ArchiveError, match=r"broke off the connection.* Only 1 of 2 objects were sent before"):
        send(objects, WebAddress.parse(archive.address))
    archive.breaks_after = 10
    assert send(objects, WebAddress.parse(archive.address)).objects == 2
    assert len(archive.files) == len(series) + 2


@pytest.mark.parametrize(("status", "words"), [(401, "a user and a password"), (403, "does not allow"), (404, "404")])
def test_a_refusal_of_sending_is_one_sentence(archive: WebArchive, objects: Path, status: int, words: str) -> None:
    archive.status["store"] = status
    with pytest.raises(ArchiveError, match=words):
        send(objects, WebAddress.parse(archive.address))
    assert archive.files == {}


def test_nothing_is_sent_to_a_study_of_another_patient(archive: WebArchive, series: list[Path], objects: Path) -> None:
    for path in series:
        archive.keep(changed(path.read_bytes(), PatientID="PID-9", PatientName="Other"))
    with pytest.raises(ArchiveError, match="has this study under another patient, so nothing was sent"):
        send(objects, WebAddress.parse(archive.address))
    assert not any(request.startswith("store") for request in archive.requests)


def test_nothing_is_sent_beside_a_series_that_lost_slices_since_the_scan(
    archive: WebArchive, series: list[Path], objects: Path
) -> None:
    archive.add(series[1:])
    with pytest.raises(ArchiveError, match=r"1 of 35 slices to which the DICOM objects refer are not there"):
        send(objects, WebAddress.parse(archive.address))
    assert not any(request.startswith("store") for request in archive.requests)


def test_an_archive_without_the_ct_takes_the_results(archive: WebArchive, objects: Path) -> None:
    assert send(objects, WebAddress.parse(archive.address)).objects == 2


def test_folders_without_objects_and_other_studies_are_refused(
    archive: WebArchive, series: list[Path], objects: Path
) -> None:
    with pytest.raises(ArchiveError, match="no DICOM objects of EmphysemaScanner"):
        send(series[0].parent, WebAddress.parse(archive.address))
    with pytest.raises(ArchiveError, match="not of the study that"):
        send(objects, WebAddress.parse(f"{archive.address}/studies/1.2.9"))
    assert archive.requests == []
