"""Addresses of DICOM archives on the web: dicomweb://HOST:PORT/PATH/studies/UID/series/UID; no package is needed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..i18n import tr as _
from .source import ArchiveError

_SCHEMES = {"dicomweb": "http", "dicomwebs": "https"}
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_LONGEST_UID = 64


def is_web_address(text: str) -> bool:
    """Whether a text is meant as an address of a DICOM archive, rightly written or not."""
    return text.partition(":")[0].lower() in _SCHEMES


@dataclass(frozen=True)
class WebAddress:
    """A DICOMweb service, and what is meant of its content.

    Attributes:
        text: the address as it was given.
        service: the service's URL, which begins with http or https.
        study: StudyInstanceUID; "" for the whole archive.
        series: SeriesInstanceUID; "" for all series of the study.
    """

    text: str
    service: str
    study: str = ""
    series: str = ""

    @classmethod
    def parse(cls, text: str) -> WebAddress:
        """The address that a text is.

        Args:
            text: such as ``dicomweb://host:8042/dicom-web/studies/1.2.3/series/4.5.6``, without the series, or without
                both; ``dicomweb`` is read over HTTP, ``dicomwebs`` over HTTPS.

        Raises:
            ArchiveError: it is something else.
        """
        try:
            parts = urlsplit(text)
            scheme, host, port = _SCHEMES[parts.scheme.lower()], parts.hostname, parts.port
        except (ValueError, KeyError) as error:
            raise _wrong(text) from error
        if parts.username or parts.password:
            raise ArchiveError(
                _(
                    "The address of an archive must not hold a user or a password, as addresses are shown and written"
                    " to tables; put them into the file .netrc of your home folder."
                )
            )
        if not host or parts.query or parts.fragment:
            raise _wrong(text)
        service, found, rest = f"{parts.path.rstrip('/')}/".partition("/studies/")
        names = [name for name in rest.split("/") if name]
        if (found and not names) or names[1::2] not in ([], ["series"]) or len(names) not in (0, 1, 3):
            raise _wrong(text)
        for uid in names[::2]:
            if not _UID.fullmatch(uid) or len(uid) > _LONGEST_UID:
                raise _wrong(text)
        where = f"{host}:{port}" if port else host
        return cls(text, f"{scheme}://{where}{service.rstrip('/')}", *names[::2])

    @property
    def name(self) -> str:
        """UID of the series or, without one, of the study; "" for the whole archive."""
        return self.series or self.study

    @property
    def archive(self) -> str:
        """Host and path of the service, for sentences."""
        return self.service.partition("://")[2]


def _wrong(text: str) -> ArchiveError:
    sentence = _(
        "'{text}' is no address of a study or a series in an archive; write"
        " dicomwebs://HOST[:PORT]/PATH/studies/UID[/series/UID], or dicomweb:// where the archive has no HTTPS."
    )
    return ArchiveError(sentence.format(text=text))
