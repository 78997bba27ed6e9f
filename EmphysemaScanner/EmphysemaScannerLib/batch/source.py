"""Where the CTs of a batch are: here, or at addresses in an object store, from which each is copied for its scan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..base.lists import SUFFIXES, read_list
from ..ct.objectstore import ADDRESS, copied
from ..lungs.labelfiles import NO_FILES, MaskFiles
from .inputstate import state_of
from .row import BatchError


@dataclass(frozen=True)
class Source:
    """A CT of a batch.

    Attributes:
        path: its file or folder, absolute, which names it in the table.
        address: where its files are if there is nothing at ``path``, as fsspec reads it, or of a study or series in a
            DICOM archive; "" if nowhere else.
        masks: its label files.
        expiratory: file or folder of the patient's CT in expiration, absolute; None without one.
    """

    path: Path
    address: str = ""
    masks: MaskFiles = NO_FILES
    expiratory: Path | None = None

    def state(self) -> str:
        """Of its files, its label files and its expiratory CT, as ``inputstate.state_of`` gives it.

        Returns:
            "" where the CT's files are not there.
        """
        state, masks = state_of(self.path), self.masks
        if not state or not (masks or self.expiratory):
            return state
        parts = [state, masks.lung_labels, masks.lobe_labels]
        parts += ["" if path is None else state_of(path) for path in (masks.lungs, masks.lobes)]
        parts += [] if self.expiratory is None else [state_of(self.expiratory)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @contextmanager
    def files(self) -> Iterator[Path]:
        """The CT's file or folder while the block runs; what was copied is removed when it ends.

        Raises:
            MissingPackageError: fsspec needs another package for such an address.
            UnreadableInputError: nothing can be copied from there.
        """
        if not self.address or self.path.exists():
            yield self.path
            return
        with TemporaryDirectory(prefix="emphysema-scanner-") as folder:
            yield _copied(self.address, Path(folder))


def addresses(listed: Path) -> dict[str, str]:
    """The addresses in a list's column ``url``, by the volume as the list names it; none if it is no list.

    Raises:
        BatchError: the list cannot be read.
    """
    if listed.suffix.lower() not in SUFFIXES or not listed.is_file():
        return {}
    rows = read_list(listed, ["volume"], BatchError).rows
    return {row.values["volume"]: row.values[ADDRESS] for row in rows if row.values.get(ADDRESS)}


def _copied(address: str, folder: Path) -> Path:
    from ..archive.fetching import fetch
    from ..archive.webaddress import WebAddress, is_web_address

    if is_web_address(address):
        return fetch(WebAddress.parse(address), folder).folder
    return copied(address, folder)
