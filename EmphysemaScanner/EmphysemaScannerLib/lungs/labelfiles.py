"""Lung masks and lobes from label files: NRRD, also Slicer's .seg.nrrd, NIfTI, MHA."""

from __future__ import annotations

import dataclasses
import gzip
import html
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.errors import EmphysemaScannerError, damaged
from ..ct.grid import Grid, canonical
from ..ct.imagefiles import IMAGE_SUFFIXES, read_image
from .recognition import WANTED_LOBES, WANTED_LUNGS, recognise
from .regions import NO_MASKS, LabelMap, MaskKind, Masks, RegionError, Segment, parse_labels, values_in

MASK_COLUMNS = ("lungs", "lobes", "lung_labels", "lobe_labels")
"""Of lists and manifests: two files, and which of their labels is what."""
_MOST_LABELS, _LARGEST_LABEL = 2000, 2**16 - 1
_HEADER_BYTES = 1 << 20
_CARET_LABEL = re.compile(r'<Label\s[^>]*?Key="(\d+)"[^>]*>\s*(?:<!\[CDATA\[)?(.*?)(?:\]\]>)?\s*</Label>', re.DOTALL)


@dataclass(frozen=True)
class MaskFiles:
    """The label files of a CT.

    Attributes:
        lungs: of the lung mask; None without one.
        lobes: of the lobes; None without them.
        lung_labels, lobe_labels: which label is what, as ``regions.parse_labels`` reads it; "" where it is recognised.
    """

    lungs: Path | None = None
    lobes: Path | None = None
    lung_labels: str = ""
    lobe_labels: str = ""

    def __post_init__(self) -> None:
        for path, labels, what in ((self.lungs, self.lung_labels, "lung"), (self.lobes, self.lobe_labels, "lobe")):
            if labels and path is None:
                raise RegionError(f"The labels '{labels}' belong to no file; name the {what} label file, too.")

    def __bool__(self) -> bool:
        return self.lungs is not None or self.lobes is not None

    @classmethod
    def of_columns(cls, folder: Path, values: Mapping[str, str]) -> MaskFiles:
        """Those that a row of a list names in the columns ``lungs``, ``lobes``, ``lung_labels`` and ``lobe_labels``.

        Args:
            folder: that relative paths count from.
            values: by column; each may be missing or "".

        Raises:
            RegionError: labels belong to no file or cannot be read.
        """
        lungs, lobes = (folder / name if (name := values.get(column)) else None for column in MASK_COLUMNS[:2])
        labels = [values.get(column, "") for column in MASK_COLUMNS[2:]]
        for text in labels:
            parse_labels(text)
        return cls(lungs, lobes, labels[0], labels[1])

    @property
    def for_lungs(self) -> MaskFiles:
        """What of them decides where the lungs are: the lung mask, or lobes without one."""
        if self.lungs is not None:
            return MaskFiles(lungs=self.lungs, lung_labels=self.lung_labels)
        return self

    def read(self) -> Masks:
        """The regions in the files.

        Raises:
            EmphysemaScannerError: a file cannot be read, or its labels cannot be used; says which and why.
        """
        if not self:
            return NO_MASKS
        maps: dict[Path, LabelMap] = {}  # one file may serve as both
        for path in (self.lungs, self.lobes):
            if path is not None and path not in maps:
                maps[path] = read_label_map(path)
        lungs, lobes = (
            None if path is None else recognise(maps[path], MaskKind.FILE, wanted, parse_labels(labels))
            for path, labels, wanted in (
                (self.lungs, self.lung_labels, WANTED_LUNGS),
                (self.lobes, self.lobe_labels, WANTED_LOBES),
            )
        )
        return Masks(lungs, lobes)


NO_FILES = MaskFiles()


def read_label_map(path: Path) -> LabelMap:
    """The labels in a file, with the names and codes that it has for them.

    Names are read from the segments of Slicer's .seg.nrrd and from the label table that TotalSegmentator writes into
    NIfTI files.

    Raises:
        UnreadableInputError: the file cannot be read.
        RegionError: it holds something else than labels.
    """
    path = Path(path)
    if not path.name.lower().endswith(IMAGE_SUFFIXES):
        raise RegionError(f"'{path}' is not a label file; give one of {', '.join(IMAGE_SUFFIXES)}.")
    try:
        image, _ = read_image(path)
    except EmphysemaScannerError as error:
        raise RegionError(f"The label file cannot be used: {error}") from error
    if image.GetDimension() != 3:
        raise RegionError(f"'{path.name}' has {image.GetDimension()} dimensions; give a label file of one CT.")
    layers, grid = _layers(image, path.name)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return label_map(layers, grid, _nrrd_segments(image), path.name)
    found, names = label_map(layers, grid, {}, path.name), _nifti_names(path)
    # TotalSegmentator names all organs that it knows, in the CT or not.
    segments = tuple(Segment(segment.value, 0, names.get(segment.value, "")) for segment in found.segments)
    return dataclasses.replace(found, segments=segments)


def label_map(
    layers: tuple[NDArray[np.integer], ...], grid: Grid, named: Mapping[tuple[int, int], Segment], name: str
) -> LabelMap:
    """A label map with a segment for each value that it holds or names.

    Args:
        layers: its values, each (slices, rows, columns), canonical.
        grid: of the voxels.
        named: segments by layer and value, as far as they are known.
        name: of the label map, for messages.

    Raises:
        RegionError: it holds too many values for labels.
    """
    found = dict(named)
    for number, layer in enumerate(layers):
        values = values_in(layer)
        if len(values) > _MOST_LABELS or values.min(initial=0) < 0 or values.max(initial=0) > _LARGEST_LABEL:
            raise RegionError(
                f"'{name}' holds {len(values):,} different values from {values.min():,} to {values.max():,} and no "
                "labels; give a label file, not a CT."
            )
        for value in values[values > 0].tolist():
            found.setdefault((number, value), Segment(value, number))
    return LabelMap(layers, grid, tuple(found[key] for key in sorted(found)), name)


def _layers(image: sitk.Image, name: str) -> tuple[tuple[NDArray[np.integer], ...], Grid]:
    """The layers of an image of labels, canonical; several where segments overlap."""
    count = image.GetNumberOfComponentsPerPixel()
    parts = [image] if count == 1 else [sitk.VectorIndexSelectionCast(image, k) for k in range(count)]
    layers = []
    for part in parts:
        values = sitk.GetArrayFromImage(canonical(part))
        if values.dtype.kind == "f":
            whole = values.astype(np.int32)
            if not np.array_equal(whole, values):
                raise RegionError(f"'{name}' holds fractions and no labels; give a label file, not a CT or a map.")
            values = whole
        layers.append(values)
    return tuple(layers), Grid.of_image(canonical(parts[0]))


def _nrrd_segments(image: sitk.Image) -> dict[tuple[int, int], Segment]:
    """The segments that Slicer wrote into a .seg.nrrd file, by layer and value."""
    keys = image.GetMetaDataKeys()
    found = {}
    for number in sorted({int(key[7 : key.index("_")]) for key in keys if re.match(r"Segment\d+_", key)}):

        def text(field: str, number: int = number) -> str:
            key = f"Segment{number}_{field}"
            return str(image.GetMetaData(key)) if key in keys else ""

        value = text("LabelValue")
        layer = text("Layer") or "0"
        if value.isdecimal() and layer.isdecimal():
            tag = re.search(r"TerminologyEntry:([^|]*)", text("Tags"))
            segment = Segment(int(value), int(layer), text("Name"), tag[1] if tag else "")
            found[segment.layer, segment.value] = segment
    return found


def _nifti_names(path: Path) -> dict[int, str]:
    """Names by label from the label table of a NIfTI header's extensions; none where there is no such table."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise damaged(path) from error
    first, table, last = (header.find(mark) for mark in (b"<LabelTable>", b"<Label ", b"</LabelTable>"))
    if not 0 <= first < table < last:
        return {}
    text = header[first:last].decode("utf-8", "replace")
    return {int(key): html.unescape(name).strip() for key, name in _CARET_LABEL.findall(text) if int(key)}
