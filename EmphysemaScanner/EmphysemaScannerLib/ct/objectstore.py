"""CTs in object stores, at addresses that fsspec reads, such as ``s3://bucket/series/*`` or ``https://host/ct.nrrd``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..base.errors import MissingPackageError, UnreadableInputError, reason
from ..i18n import tr as _
from .imagefiles import IMAGE_SUFFIXES

ADDRESS = "url"  # the column of lists and manifests

_OPEN_TO_ALL = "s3://idc-open-data"  # the Imaging Data Commons' buckets, also idc-open-data-two and idc-open-data-cr
_VERSIONS = ("etag", "lastmodified", "last-modified", "mtime", "generation", "content-md5")  # as stores name it
_FILE_SUFFIXES = (*IMAGE_SUFFIXES, ".dcm")


def copied(address: str, folder: Path) -> Path:
    """Copy what is at an address, one file or all files of a series, into an empty folder.

    Returns:
        The file, or the folder where there are several.

    Raises:
        MissingPackageError: fsspec needs another package for such an address.
        UnreadableInputError: it cannot be copied whole; what is in the folder is of no use.
    """
    with _one_sentence(address):
        store, place, names = _found(address)
        top = place.partition("*")[0].rpartition("/")[0]
        copies = [_below(folder, name.removeprefix(top)) for name in names]
        for copy in copies:
            copy.parent.mkdir(parents=True, exist_ok=True)
        store.get(list(names), [str(copy) for copy in copies])
    return copies[0] if len(copies) == 1 else folder


def version_of(address: str) -> str:
    """What tells the files at an address apart from those of another time; nothing is copied.

    Returns:
        A checksum of their names, sizes and versions, or "" where the store states neither version nor time.

    Raises:
        MissingPackageError: fsspec needs another package for such an address.
        UnreadableInputError: there is nothing, or the store does not answer.
    """
    with _one_sentence(address):
        store, _place, names = _found(address)
        parts = []
        for name, listed in sorted(names.items()):
            # Listings of HTTP servers state no version; the file itself is asked for it.
            stated = _stated(listed) or _stated(store.info(name))
            if not stated:
                return ""
            parts.append((name, *stated))
    return hashlib.sha256(repr((address, parts)).encode()).hexdigest()


def _found(address: str) -> tuple[Any, str, dict[str, dict[str, Any]]]:
    """The store, the address in it, and what it states of each file there."""
    import fsspec

    options = {"anon": True} if address.startswith(_OPEN_TO_ALL) else {}
    store, place = fsspec.url_to_fs(address, **options)
    store.invalidate_cache()
    if "*" in place:
        names = store.glob(place, detail=True)
    elif place.lower().endswith(_FILE_SUFFIXES):
        names = {place: store.info(place)}  # to find it, HTTP would read all of it in search of links
    else:
        names = store.find(place, detail=True)
    if not names:
        raise FileNotFoundError(_("there is no file"))
    return store, place, names


def _stated(info: dict[str, Any]) -> tuple[str, ...]:
    """Size and versions of a file, () if no version is among what a store states of it."""
    known = {key.casefold(): str(value) for key, value in info.items() if value}
    versions = tuple(known.get(key, "") for key in _VERSIONS)
    return (known.get("size", ""), *versions) if any(versions) else ()


@contextmanager
def _one_sentence(address: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingPackageError(
            _("Reading '{address}' requires a further package ({why}).").format(address=address, why=reason(error))
        ) from error
    except Exception as error:  # each kind of store raises its own
        sentence = _("'{address}' cannot be read ({why}); check address and connection, and try again.")
        raise UnreadableInputError(
            sentence.format(address=address, why=reason(str(error) or type(error).__name__))
        ) from error


def _below(folder: Path, name: str) -> Path:
    """A file of that name in the folder, whatever a store calls it."""
    return folder.joinpath(*(part for part in name.split("/") if part not in ("", ".", "..")))
