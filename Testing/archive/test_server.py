"""A DICOM archive takes every object and gives it back unchanged, by DIMSE and by DICOMweb."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import archivedct
import pydicom
import pytest
import SimpleITK as sitk
from EmphysemaScannerLib.archive.fetching import fetched
from EmphysemaScannerLib.archive.sending import send
from EmphysemaScannerLib.archive.webaddress import WebAddress
from EmphysemaScannerLib.archive.writing import write_objects
from EmphysemaScannerLib.scan.result import ScanResult
from pynetdicom import AE

PATIENCE_S = 60
NAME = "ARCHIVE"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Server:
    """Where a server listens on this machine, for DICOM and for its web address."""

    dicom: int
    web: int

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web}{path}", timeout=PATIENCE_S) as answer:
            return bytes(answer.read())


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        pytest.skip("Orthanc is not installed (Debian package orthanc)")
    folder = tmp_path_factory.mktemp("orthanc")
    found = Server(*free_ports(2))
    settings = {
        "Name": NAME,
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomAet": NAME,
        "DicomPort": found.dicom,
        "HttpPort": found.web,
        "RemoteAccessAllowed": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [str(DICOMWEB)] if DICOMWEB.exists() else [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        [program, str(folder / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(10 * PATIENCE_S):
            try:
                found.get("/system")
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, "Orthanc ended at once"
                time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def store(server: Server, paths: list[Path]) -> list[int]:
    """Send files by C-STORE; the status of each, 0 being success."""
    files = [pydicom.dcmread(path) for path in paths]
    entity = AE()
    for file in files:
        entity.add_requested_context(file.SOPClassUID, file.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", server.dicom, ae_title=NAME)
    assert association.is_established
    try:
        return [association.send_c_store(file).Status for file in files]
    finally:
        association.release()


def test_a_server_takes_every_object_and_gives_it_back_unchanged(
    server: Server, make_result: Callable[..., ScanResult], tmp_path: Path
) -> None:
    slices = archivedct.write_series(tmp_path / "ct")
    ct = archivedct.read(tmp_path / "ct")
    assert ct.volume
    objects = write_objects(archivedct.result_on(ct, make_result()), ct.volume, tmp_path / "out")
    for _ in range(2):  # repeating it is safe
        assert store(server, [*slices, *objects]) == [0] * (len(slices) + len(objects))
    kept = {}
    for identity in json.loads(server.get("/instances")):
        content = server.get(f"/instances/{identity}/file")
        (tmp_path / "back.dcm").write_bytes(content)
        found = pydicom.dcmread(tmp_path / "back.dcm")
        kept[found.SOPInstanceUID] = found
    assert len(kept) == len(slices) + len(objects)
    for path in objects:
        sent = pydicom.dcmread(path)
        assert kept[sent.SOPInstanceUID] == sent, path.name
    assert len(json.loads(server.get("/studies"))) == 1
    assert len(json.loads(server.get("/series"))) == 7  # the CT, and six of ours


def test_a_ct_comes_from_a_server_by_dicomweb_and_its_results_go_back(
    server: Server, make_result: Callable[..., ScanResult], tmp_path: Path
) -> None:
    if not DICOMWEB.exists():
        pytest.skip("Orthanc's DICOMweb is not installed (Debian package orthanc-dicomweb)")
    study = "1.2.826.0.1.3680043.2.1143.77"
    slices = archivedct.write_series(tmp_path / "ct", StudyInstanceUID=study)
    assert store(server, slices) == [0] * len(slices)
    archive = f"dicomweb://127.0.0.1:{server.web}/dicom-web"
    with fetched(WebAddress.parse(f"{archive}/studies/{study}")) as copied:
        ct = copied.read()
        assert ct.volume
        assert sitk.Hash(ct.image) == sitk.Hash(archivedct.read(tmp_path / "ct").image)
        objects = write_objects(archivedct.result_on(ct, make_result()), ct.volume, tmp_path / "out")
    for _ in range(2):
        assert send(tmp_path / "out", WebAddress.parse(archive)).objects == len(objects)
    (there,) = (one for one in _all(server, "studies") if one["MainDicomTags"]["StudyInstanceUID"] == study)
    assert len(there["Series"]) == 7
    kept = {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in _all(server, "instances")}
    for path in objects:
        sent = pydicom.dcmread(path)
        (tmp_path / "back.dcm").write_bytes(server.get(f"/instances/{kept[sent.SOPInstanceUID]}/file"))
        assert pydicom.dcmread(tmp_path / "back.dcm") == sent, path.name


def _all(server: Server, level: str) -> list[dict[str, Any]]:
    return list(json.loads(server.get(f"/{level}?expand")))
