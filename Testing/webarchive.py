"""A small DICOM archive with DICOMweb (QIDO-RS, WADO-RS, STOW-RS) on this machine, which can be made to misbehave."""

from __future__ import annotations

import base64
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom

BOUNDARY = "a-boundary"


@dataclass(eq=False)
class WebArchive:
    """What the archive holds and does.

    Attributes:
        files: the objects by SOPInstanceUID.
        status: answers of another status than 200, by the kind of request ("search", "retrieve", "store").
        garbage: kinds of requests that are answered by a web page.
        sent: changes an object's bytes on the way out; None breaks the connection off there.
        listed: how many entries a search gives at once.
        refused: SOPInstanceUIDs that are not stored, with a reason.
        silent: whether stored objects are left unconfirmed.
        twice: whether an object that is there is stored again rather than refused as a conflict.
        login: "user:password" that every request must state; "" for none.
        breaks_after: how many objects are stored before the connection is broken off.
        port: where it listens.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    garbage: set[str] = field(default_factory=set)
    sent: Callable[[int, bytes], bytes | None] = lambda _number, content: content
    listed: int = 1000
    refused: set[str] = field(default_factory=set)
    silent: bool = False
    twice: bool = True
    login: str = ""
    breaks_after: int = 1000
    port: int = 0
    requests: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"dicomweb://127.0.0.1:{self.port}/web"

    def add(self, paths: Iterable[Path]) -> None:
        for path in paths:
            self.keep(path.read_bytes())

    def keep(self, content: bytes) -> None:
        self.files[str(header(content).SOPInstanceUID)] = content


@lru_cache(None)
def header(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    archive: WebArchive

    def log_message(self, *_arguments: object) -> None:
        pass

    def answer(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def misbehaves(self, kind: str) -> bool:
        self.archive.requests.append(f"{kind} {self.path}")
        stated = self.headers.get("Authorization", "")
        if self.archive.login and stated != f"Basic {base64.b64encode(self.archive.login.encode()).decode()}":
            self.answer(b"", "text/plain", 401)
        elif kind in self.archive.status:
            self.answer(b"", "text/plain", self.archive.status[kind])
        elif kind in self.archive.garbage:
            self.answer(b"<html>Welcome</html>", "text/html")
        else:
            return False
        return True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        names, query = parts.path.removeprefix("/web/").split("/"), parse_qs(parts.query)
        study, series, instance = ([*names[1::2], "", "", ""])[:3]
        is_search = len(names) % 2 == 1
        if self.misbehaves("search" if is_search else "retrieve"):
            return
        wanted = {
            "StudyInstanceUID": study or query.get("StudyInstanceUID", [""])[0],
            "SeriesInstanceUID": series,
            "SOPInstanceUID": instance,
        }
        found = [
            content
            for content in self.archive.files.values()
            if all(not uid or str(header(content).get(name)) == uid for name, uid in wanted.items())
        ]
        if is_search:
            self.list(found, names[-1], int(query.get("offset", ["0"])[0]))
        elif found:
            self.give(found)
        else:
            self.answer(b"", "text/plain", 404)

    def list(self, found: list[bytes], level: str, offset: int) -> None:
        names = {
            "studies": ["StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate"],
            "series": ["SeriesInstanceUID", "Modality"],
            "instances": ["SOPInstanceUID"],
        }[level]
        entries = {}
        for content in found:
            one, entry = header(content), pydicom.Dataset()
            for name in names:
                setattr(entry, name, one.get(name))
            entries[str(one.get(names[0]))] = entry.to_json_dict()
        page = list(entries.values())[offset : offset + self.archive.listed]
        self.answer(json.dumps(page).encode(), "application/dicom+json")

    def give(self, found: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f'multipart/related; type="application/dicom"; boundary={BOUNDARY}')
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for number, content in enumerate(found):
            changed = self.archive.sent(number, content)
            if changed is None:
                return
            head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            self.wfile.write(head + changed + b"\r\n")
        self.wfile.write(f"--{BOUNDARY}--\r\n".encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.misbehaves("store"):
            return
        mark = b"--" + self.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
        said, status = pydicom.Dataset(), 200
        stored, failed = [], []
        for part in body.split(mark)[1:-1]:
            content = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            one = header(content)
            if self.archive.breaks_after == 0:
                self.close_connection = True
                return
            self.archive.breaks_after -= 1
            uid, item = str(one.SOPInstanceUID), pydicom.Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, uid
            if uid in self.archive.refused or (uid in self.archive.files and not self.archive.twice):
                item.FailureReason = 0x0122 if uid in self.archive.refused else 0x0111
                failed.append(item)
                status = 409
                continue
            if not self.archive.silent:
                self.archive.keep(content)
                stored.append(item)
        if stored:
            said.ReferencedSOPSequence = stored
        if failed:
            said.FailedSOPSequence = failed
        self.answer(said.to_json().encode(), "application/dicom+json", status)


@contextmanager
def web_archive() -> Iterator[WebArchive]:
    """An empty archive that listens while the block runs."""
    archive = WebArchive()
    handler = type("Handler", (Handler,), {"archive": archive})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        archive.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield archive
        finally:
            server.shutdown()
