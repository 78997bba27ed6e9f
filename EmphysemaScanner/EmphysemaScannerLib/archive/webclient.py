"""Talking to a DICOM archive by DICOMweb: its lists, and one sentence for whatever it answers instead."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.dataset import Dataset

from ..base.errors import EmphysemaScannerError, MissingPackageError, reason
from ..i18n import tr as _
from .source import ArchiveError
from .webaddress import WebAddress

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

_PATIENCE_S = (10, 120)  # to connect, and for the next bytes
_MOST_LISTED = 100_000  # entries: an archive that lists more of one study is not listing
_NEVER_IN_PIECES = 2**40  # bytes; a request of several pieces cannot be answered before its last one


class WebArchiveError(ArchiveError):
    """An archive refuses, cannot be reached, or answers something else than it was asked for."""


def check_client() -> None:
    """Refuse to go on without dicomweb-client.

    Raises:
        MissingPackageError: it is not installed.
    """
    if importlib.util.find_spec("dicomweb_client") is None:
        raise MissingPackageError(_("Archives need dicomweb-client; install it with: pip install dicomweb-client."))


@contextmanager
def connected(address: WebAddress) -> Iterator[DICOMwebClient]:
    """A client of the service while the block runs; whatever the archive does wrong in it becomes one sentence.

    Users and passwords are those of ``~/.netrc`` for the host, as requests reads them.

    Raises:
        WebArchiveError: the archive refuses, cannot be reached, breaks off, or answers what is no DICOMweb.
        MissingPackageError: dicomweb-client is not installed.
    """
    check_client()
    import requests
    from dicomweb_client import DICOMwebClient

    logging.getLogger("dicomweb_client").addHandler(logging.NullHandler())  # our sentence says it
    with requests.Session() as session, one_sentence(address), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break the standard, which are copied as they are
        client = DICOMwebClient(address.service, session=session, timeout=_PATIENCE_S, permissive_uid=True)
        client.set_http_retry_params(retry=False)
        yield client


def without_pieces(client: DICOMwebClient) -> DICOMwebClient:
    """The client, sending each request as a whole, so that a refusal is read rather than met as a broken connection."""
    client.set_chunk_size(_NEVER_IN_PIECES)
    return client


def everything(search: Callable[..., list[dict[str, Any]]], key: str) -> list[Dataset]:
    """All that a search of the client lists, each once, however many answers the archive makes of it.

    Args:
        search: one of the client's searches, with its arguments but ``offset``.
        key: the keyword of the UID that tells what it lists apart.
    """
    found: dict[str, Dataset] = {}
    while len(found) < _MOST_LISTED:
        before = len(found)
        for entry in search(offset=before):
            known = Dataset.from_json(entry)
            found.setdefault(str(known[key].value), known)
        if len(found) == before:
            break
    return list(found.values())


def study_in(client: DICOMwebClient, study: str) -> Dataset | None:
    """What the archive lists of a study, its patient above all; None where it does not hold it."""
    found = client.search_for_studies(
        search_filters={"StudyInstanceUID": study}, fields=["PatientID", "PatientName", "PatientBirthDate"]
    )
    listed = [Dataset.from_json(entry) for entry in found]
    return next((one for one in listed if str(one.get("StudyInstanceUID")) == study), None)


def instances_of(client: DICOMwebClient, study: str, series: str) -> frozenset[str]:
    """The SOPInstanceUIDs that the archive lists of a series; none where it does not hold it."""
    search = partial(client.search_for_instances, study, series)
    return frozenset(str(one.SOPInstanceUID) for one in everything(search, "SOPInstanceUID"))


@contextmanager
def one_sentence(address: WebAddress) -> Iterator[None]:
    """Make one sentence of whatever an archive does wrong while the block runs."""
    import requests

    where = address.archive
    try:
        yield
    except (EmphysemaScannerError, OSError) as error:
        if not isinstance(error, requests.RequestException):  # which is an OSError, too
            raise
        raise _sentence_of(error, where) from error
    except Exception as error:  # of any kind, as pydicom and the parsers of JSON and XML raise them
        raise _no_dicomweb(where, error) from error


def _sentence_of(error: Any, where: str) -> WebArchiveError:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return WebArchiveError(_refusal(error.response.status_code, where, failure_reasons(error.response)))
    if isinstance(error, requests.JSONDecodeError):
        return _no_dicomweb(where, error)
    if isinstance(error, requests.Timeout):
        said = _("The archive at {where} does not answer; check the address and the connection, and try again.")
    elif isinstance(error, requests.ConnectionError) and not isinstance(error, requests.exceptions.SSLError):
        said = _(
            "The archive at {where} cannot be reached or broke off the connection; check the address, and try again."
        )
    elif isinstance(error, requests.exceptions.ChunkedEncodingError):
        said = _("The archive at {where} broke off in the middle of its answer; try again.")
    else:
        said = _("The archive at {where} cannot be used ({why}); check the address.")
    return WebArchiveError(said.format(where=where, why=reason(error)))


def _no_dicomweb(where: str, error: Exception) -> WebArchiveError:
    said = _("What the archive at {where} answered is not DICOMweb ({why}); check the address, above all its path.")
    return WebArchiveError(said.format(where=where, why=reason(str(error) or type(error).__name__)))


def _refusal(status: int, where: str, reasons: Sequence[str]) -> str:
    known = {
        401: _(
            "The archive at {where} wants a user and a password, or others (401); put them into the file .netrc of"
            " your home folder."
        ),
        403: _("The archive at {where} does not allow this (403); ask whoever runs it for the right to do it."),
        404: _(
            "The archive at {where} has no such study or series, or no DICOMweb service at this path (404); check the"
            " address."
        ),
        409: _("The archive at {where} refused it as in conflict with its rules or with what it holds (409{why})."),
        413: _("The archive at {where} takes no object of this size (413); ask whoever runs it."),
    }
    busy = _("The archive at {where} is not able to answer now (error {status}); try again later.")
    other = _("The archive at {where} refused (error {status}); ask whoever runs it.")
    said = known.get(status) or (busy if status in (408, 429) or status >= 500 else other)
    return said.format(where=where, status=status, why="".join(f"; {one}" for one in reasons))


_FAILURES = {  # DICOM PS3.18, table 10.5.3-1, and PS3.4, table B.2-1
    0x0110: "processing failure",
    0x0111: "an object with this UID is there already",
    0x0117: "invalid UID",
    0x0122: "the archive does not take this kind of object",
    0x0124: "not allowed for this user",
    0xC122: "the archive does not take this transfer syntax",
}


def failure_reasons(answer: Any) -> tuple[str, ...]:
    """Why an archive did not store objects, as far as its answer states it.

    Args:
        answer: a response of requests, or the data set that the client made of it.
    """
    if not isinstance(answer, Dataset):
        try:
            answer = pydicom.Dataset.from_json(answer.json())
        except Exception:  # an answer without a body, or with another one
            return ()
    codes = [item.get("FailureReason") for item in answer.get("FailedSOPSequence", ())]
    return tuple(dict.fromkeys(_failure(code) for code in codes if isinstance(code, int)))


def _failure(code: int) -> str:
    if code >> 8 == 0xA7:
        return "out of resources"
    if code >> 8 == 0xA9:
        return "the object does not fit its kind"
    return _FAILURES.get(code) or ("the archive cannot read the object" if code >> 12 == 0xC else f"code {code:04X}")
