"""Volumes as networks read them, kept on disk: a CT is read and averaged once, and a training starts at once.

An entry is named by what it was made from: the bytes of the CT's files, and the grid. Neither names nor contents of the
cache tell a path or a patient. Entries are written whole or not at all, and checked when they are read, so that several
processes may share a cache and any of them may be killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..base.errors import EmphysemaScannerError, ModelFileError, UnreadableInputError
from ..base.wholefile import write_whole
from ..ct.checks import check_image
from ..ct.grid import Grid, canonical
from ..ct.objectstore import ADDRESS
from ..ct.reading import IMAGE_SUFFIXES, read_ct
from ..lungs.densitometry import measure
from ..lungs.labelfiles import NO_FILES, MaskFiles
from ..lungs.masks import lungs_in
from ..models.networks import known_architecture
from ..models.preprocessing import Field, Needs, Preprocessing, View
from .manifest import CohortRow, ManifestError, check_volumes

ENVIRONMENT = "EMPHYSEMA_SCANNER_CACHE"
MADE_BY = 2  # counts the changes of what volumes become; entries of another number are not found
DENSITY_COLUMNS = ("laa_950_percent", "perc15_hu")
_BLOCK_BYTES = 1 << 20
_DETACHED = re.compile(rb"^data ?file *:|^ElementDataFile *= *(?!LOCAL)", re.MULTILINE | re.IGNORECASE)
_MARK = "CACHE_OF_EMPHYSEMA_SCANNER"  # only folders that hold this file are ever cleared


def default_folder() -> Path:
    """Where volumes are kept: $EMPHYSEMA_SCANNER_CACHE, or the user's folder for what can be made again."""
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "EmphysemaScanner"


class VolumeCache:
    """Preprocessed volumes in a folder; about half a MB each on the paper's grid.

    What cannot be written (a full disk, a folder that is not ours) is made again each time it is asked for.

    Args:
        folder: ``default_folder()`` if None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)
        self._contents: dict[str, str] = {}

    def grid_hu(self, volume: Path, preprocessing: Preprocessing, masks: MaskFiles = NO_FILES) -> NDArray[np.int16]:
        """A CT averaged onto the network's grid, (slices, rows, columns) in whole HU, inferior to superior.

        Args:
            volume: the CT.
            preprocessing: which grid, and what of the CT lies on it.
            masks: its label files, which are used where the field is that of the lungs.

        Raises:
            EmphysemaScannerError: (a kind of) it cannot be read.
        """

        def average() -> NDArray[np.int16]:
            averaged = np.rint(_read(volume, preprocessing, masks)[0])
            if not np.isfinite(averaged).all():
                raise UnreadableInputError(f"'{volume}' has voxels that are not numbers; export it again.")
            return averaged.clip(-(2**15), 2**15 - 1).astype(np.int16)

        name = self._name(preprocessing, masks)
        return _unpacked(self._kept(volume, name, lambda: _packed(average())))

    def grid(self, volume: Path, preprocessing: Preprocessing, masks: MaskFiles = NO_FILES) -> Grid:
        """Where ``grid_hu`` of the same arguments lies in the patient.

        Raises:
            EmphysemaScannerError: (a kind of) it cannot be read.
        """

        def found() -> NDArray[np.float64]:
            grid = _read(volume, preprocessing, masks)[1].grid
            return np.array([grid.spacing_mm, grid.origin_lps, *grid.direction_lps])

        name = f"{self._name(preprocessing, masks)} grid"
        spacing, origin, *direction = self._kept(volume, name, found).tolist()
        return Grid(preprocessing.shape, tuple(spacing), tuple(origin), tuple(map(tuple, direction)))

    def densities(self, row: CohortRow) -> tuple[float, float]:
        """LAA%-950 in % and Perc15 in HU of the whole lungs.

        They are the manifest's own (``laa_950_percent``, ``perc15_hu``) where it has both, as simulated cohorts do,
        whose volumes are coarser than the CTs that they were measured on. Otherwise they are measured, in the lung
        mask that the manifest names or else in the lungs that are found.

        Raises:
            EmphysemaScannerError: (a kind of) the CT cannot be read or has no lungs, or the manifest's are no numbers.
        """
        known = [row.extra.get(name, "") for name in DENSITY_COLUMNS]
        if all(known):
            try:
                laa, perc15 = map(float, known)
            except ValueError:
                laa = perc15 = math.nan
            if not math.isfinite(laa + perc15):
                columns = " and ".join(DENSITY_COLUMNS)
                raise ManifestError(f"{row.where}: {columns} must be numbers, or empty to be measured.")
            return laa, perc15

        def measured() -> NDArray[np.float64]:
            image = canonical(read_ct(row.volume).image)
            check_image(image)
            hu = sitk.GetArrayViewFromImage(image)
            found = measure(hu[lungs_in(image, row.masks.for_lungs.read()) > 0], float(np.prod(image.GetSpacing())))
            return np.array([found.laa_950_percent, found.perc15_hu])

        laa, perc15 = self._kept(row.volume, f"densities{self._of_masks(row.masks)}", measured)
        return float(laa), float(perc15)

    def network_input(self, row: CohortRow, architecture: str, preprocessing: Preprocessing) -> Tensor:
        """What a network of an architecture reads of a volume: (T, 1, H, W), or (2,) LAA%-950 and Perc15.

        Args:
            row: the volume.
            architecture: a name in ``ARCHITECTURES``.
            preprocessing: how a volume becomes the input; unused for densitometry.

        Raises:
            ModelFileError: the architecture's name is unknown.
            EmphysemaScannerError: (another kind of) the CT cannot be read.
        """
        if known_architecture(architecture).needs is Needs.DENSITOMETRY:
            return torch.tensor(self.densities(row), dtype=torch.float32)
        hu = self.grid_hu(row.volume, preprocessing, row.masks).astype(np.float32)
        return torch.from_numpy(preprocessing.normalise(hu))[:, None]

    def problem(self, row: CohortRow, architecture: str, preprocessing: Preprocessing) -> str:
        """Why a volume cannot be read; "" where it can, and then it is in the cache."""
        try:
            self.network_input(row, architecture, preprocessing)
        except ModelFileError:
            raise
        except EmphysemaScannerError as error:
            return str(error)
        return ""

    def remember(self, volume: Path, copy: Path, version: str) -> None:
        """Note that a volume which is not here has the contents of a copy of it, which may then be removed.

        Args:
            volume: where it would be.
            copy: its file or folder; what was read of it is found for ``volume`` from now on.
            version: what told it apart where it was copied from.
        """
        self._write(self._note(volume), f"{self._content(copy)} {version}".encode())

    def remembered(self, volume: Path) -> tuple[str, str] | None:
        """Contents and version of a volume that is not here but was read from a copy; None without one."""
        try:
            content, version = self._note(volume).read_text(encoding="ascii").split(" ")
        except (OSError, ValueError):  # ValueError: it is damaged
            return None
        return (content, version) if len(content) == 64 else None

    def check_asked(self, rows: Sequence[CohortRow]) -> None:
        """Refuse volumes that would have to be copied from their addresses, which is done only where it is asked for.

        Raises:
            ManifestError: how many there are.
        """
        away = sum(
            bool(row.extra.get(ADDRESS)) and not row.volume.exists() and not self.remembered(row.volume) for row in rows
        )
        if away:
            raise ManifestError(
                f"{away} of {len(rows)} volumes are not here but have an address; 'emphysema-scanner cache fill "
                "--fetch' reads them from there into the cache."
            )

    def check_at_hand(self, rows: Sequence[CohortRow]) -> None:
        """Refuse rows whose files are not here, except volumes that were read from their addresses.

        Raises:
            ManifestError: names the first few, or how many volumes have an address and were not read.
        """
        self.check_asked(rows)
        # Where a volume need not be here, the row's other files must be all the same.
        fetched = {row.volume for row in rows if not row.volume.exists() and self.remembered(row.volume)}
        check_volumes(replace(row, volume=self.folder) if row.volume in fetched else row for row in rows)

    def is_writable(self) -> bool:
        """Whether anything can be kept: the folder is ours or can become so, and can be written to."""
        try:
            self._claim()
        except OSError:
            return False
        return self._is_ours() and os.access(self.folder, os.W_OK)

    def size(self) -> tuple[int, int]:
        """Number of files and bytes in the cache."""
        files = [path for path in self.folder.rglob("*") if path.is_file()] if self._is_ours() else []
        return len(files), sum(path.stat().st_size for path in files)

    def clear(self) -> int:
        """Remove the cache; returns how many files it had. A folder that is not a cache is left alone."""
        count, _ = self.size()
        if self._is_ours():
            shutil.rmtree(self.folder)
        return count

    def _claim(self) -> None:
        """Make an empty or missing folder ours."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._is_ours() and not any(self.folder.iterdir()):
            (self.folder / _MARK).touch()

    def _is_ours(self) -> bool:
        return (self.folder / _MARK).is_file()

    def _name(self, preprocessing: Preprocessing, masks: MaskFiles) -> str:
        """What a volume's entry is called; the window is not part of it, for entries are in HU."""
        whole = f"{preprocessing.shape} {preprocessing.padding_hu}"
        if preprocessing.field is Field.WHOLE:
            return whole
        lungs = f"{preprocessing.field.value} {preprocessing.margin_mm} {preprocessing.outside_hu}"
        return f"{whole} {lungs}{self._of_masks(masks)}"

    def _of_masks(self, masks: MaskFiles) -> str:
        """The end of an entry's name that tells lung masks apart; "" where the lungs are found."""
        if not masks:
            return ""
        chosen = masks.for_lungs
        path, labels = chosen.lungs or chosen.lobes, chosen.lung_labels or chosen.lobe_labels
        assert path is not None
        return f" lungs of {self._content(path)} {labels}"

    def _note(self, volume: Path) -> Path:
        name = _digest(str(Path(volume).absolute()))
        return self.folder / "fetched" / name[:2] / name

    def _kept(self, volume: Path, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The entry of that name of a volume, made now if it isn't there or is damaged."""
        key = _digest(f"{MADE_BY} {self._content(volume)} {name}")
        path = self.folder / "volumes" / key[:2] / f"{key}.npz"
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return np.asarray(file["values"])  # the archive holds a checksum, which is looked at here
        except Exception:  # whatever a damaged archive makes of zipfile, zlib and NumPy: the entry is made again
            if not Path(volume).exists() and self.remembered(volume):
                raise UnreadableInputError(
                    f"'{volume}' is not here, and the cache does not hold it as it is read now; run 'emphysema-scanner "
                    "cache fill --fetch' with the same grid and field, or download it."
                ) from None
            values = make()
        archive = io.BytesIO()
        np.savez_compressed(archive, values=values)
        self._write(path, archive.getbuffer())
        return values

    def _content(self, volume: Path) -> str:
        """Hash of the bytes of a CT's file, or of all files in its folder, in whatever order and under whatever names.

        Remembered for files whose place, size and time have not changed, so that a cohort is hashed once.
        """
        volume = Path(volume).absolute()
        if not volume.exists() and (known := self.remembered(volume)):
            return known[0]
        if _is_detached(volume):
            image = read_ct(volume).image
            geometry = (image.GetOrigin(), image.GetSpacing(), image.GetDirection(), image.GetSize())
            voxels = sitk.GetArrayViewFromImage(image)
            return _digest(f"{geometry} {voxels.dtype} {hashlib.sha256(voxels.tobytes()).hexdigest()}")
        # One file of a DICOM series stands for all of them.
        alone = volume.is_dir() or volume.name.lower().endswith(IMAGE_SUFFIXES)
        whole = volume if alone else volume.parent
        files = sorted(path for path in whole.rglob("*") if path.is_file()) if whole.is_dir() else [whole]
        stats = [(str(path), path.stat()) for path in files if path.exists()]
        state = _digest(repr([str(volume), *((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)]))
        if state in self._contents:
            return self._contents[state]
        memo = self.folder / "contents" / state[:2] / state
        try:
            content = memo.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            content = ""
        if len(content) != 64:
            hashes = [_file_hash(Path(name)) for name, _ in stats]
            chosen = _file_hash(volume) if whole != volume else ""  # which series a file belongs to
            content = _digest(" ".join([*sorted(hashes), chosen]))
            self._write(memo, content.encode("ascii"))
        self._contents[state] = content
        return content

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        """Write a file; a cache that can't be written is only slower."""
        with contextlib.suppress(OSError):
            self._claim()
            if self._is_ours():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, data)


def _read(volume: Path, preprocessing: Preprocessing, masks: MaskFiles) -> tuple[NDArray[np.float32], View]:
    """A CT as ``Preprocessing.read`` gives it; lungs are only looked for in what can be a CT."""
    image = read_ct(volume).image
    if preprocessing.field is Field.WHOLE:
        return preprocessing.read(image)
    check_image(image)
    return preprocessing.read(image, lungs_in(image, masks.for_lungs.read()))


def _is_detached(path: Path) -> bool:
    """Whether a volume's voxels are in another file than its header."""
    if not path.is_file() or not path.name.lower().endswith((".mhd", ".mha", ".nhdr", ".nrrd")):
        return False
    with path.open("rb") as file:
        return _DETACHED.search(file.read(1 << 12)) is not None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file_hash(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()


def _packed(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """(T, H, W) -> (2, T, H, W): differences along rows, their signs last, low and high bytes apart; packs better."""
    steps = np.diff(hu, axis=-1, prepend=np.int16(0))
    folded = (steps << 1) ^ (steps >> 15)
    return np.moveaxis(np.ascontiguousarray(folded).view(np.uint8).reshape(*hu.shape, 2), -1, 0)


def _unpacked(packed: NDArray[np.uint8]) -> NDArray[np.int16]:
    folded = np.ascontiguousarray(np.moveaxis(packed, 0, -1)).view(np.uint16)[..., 0]
    steps = (folded >> 1).astype(np.int16) ^ -(folded & 1).astype(np.int16)
    return np.cumsum(steps, axis=-1, dtype=np.int16)
