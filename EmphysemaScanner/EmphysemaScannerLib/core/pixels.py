"""The Hounsfield units of slices, read by GDCM, whatever their transfer syntax."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from .dicomheader import Slice
from .errors import NotAChestCTError, UnreadableInputError
from .parallel import in_threads, pieces
from .series import Volume

_JUMP_HU = 200.0  # neighbouring slices differ by less than 60 HU in the mean
_NO_AIR_ABOVE_HU = -200.0
_INT16 = np.iinfo(np.int16)

Voxels = NDArray[np.generic]


def read_voxels(volume: Volume) -> Voxels:
    """(slices, rows, columns) of a volume in HU, int16 where that holds them.

    Raises:
        UnreadableInputError: a file is damaged; the message names it and its place.
        NotAChestCTError: the headers do not state how to get HU, or contradict the values.
    """
    slices = volume.slices
    for s in slices:
        _check_header(s, volume.name)
    voxels = np.empty((len(slices), *slices[0].size), np.int16)
    wide: dict[int, Voxels] = {}  # slices that int16 does not hold

    def keep(k: int, plane: Voxels) -> None:
        if plane.dtype.kind == "f" or plane.min() < _INT16.min or plane.max() > _INT16.max:
            wide[k] = plane.astype(np.float32 if plane.dtype.kind == "f" else np.int32)
        else:
            voxels[k] = plane

    def read(files: Sequence[tuple[Path, list[int]]]) -> None:
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        for path, here in files:
            place = f"slice {here[0] + 1} of {len(slices)}" if len(here) == 1 else f"{len(here)} slices"
            frames = _frames(reader, path, place, slices[0].size)
            for k in here:
                keep(k, _frame(frames, [slices[i] for i in here], slices[k], place))

    files: dict[Path, list[int]] = {}
    for k, s in enumerate(slices):
        files.setdefault(s.path, []).append(k)
    listed = list(files.items())
    in_threads(lambda numbers: read(listed[numbers.start : numbers.stop]), pieces(len(listed)))
    if wide:
        kinds = {plane.dtype.kind for plane in wide.values()}
        voxels = voxels.astype(np.float32 if "f" in kinds else np.int32)
        for k, plane in wide.items():
            voxels[k] = plane
    _check_rescaling(volume, voxels)
    return voxels


def _check_header(s: Slice, name: str) -> None:
    if s.photometric == "MONOCHROME1":
        raise NotAChestCTError(
            f"The {name}, is stored with an inverted grey scale (MONOCHROME1 in '{s.path.name}'), from which HU cannot "
            "be told for certain; export it again as MONOCHROME2."
        )
    if s.slope < 0:
        raise NotAChestCTError(
            f"'{s.path}' has a negative RescaleSlope ({s.slope:g}), which would turn air into bone; export it again."
        )
    if s.slope == 0 or math.isinf(s.slope) or math.isinf(s.intercept):
        raise NotAChestCTError(
            f"'{s.path}' has an invalid RescaleSlope or RescaleIntercept ({s.slope:g}, {s.intercept:g}); export it "
            "again."
        )


def _frames(reader: sitk.ImageFileReader, path: Path, place: str, size: tuple[int, int]) -> Voxels:
    """(frames, rows, columns) of a file, all rescaled as its first frame is."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # ITK would end the process
        raise UnreadableInputError(
            f"The name of '{path}' holds bytes that are not text; rename the file or folder."
        ) from error
    reader.SetFileName(str(path))
    try:
        frames = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise UnreadableInputError(
            f"'{path}' ({place}) cannot be read: it is damaged, incomplete or compressed in an unsupported way; get a "
            "new copy of it."
        ) from error
    frames = frames[None] if frames.ndim == 2 else frames
    if frames.ndim != 3:
        raise NotAChestCTError(
            f"'{path}' is a colour image ({frames.shape[-1]} values per voxel); choose the original CT in Hounsfield "
            "units."
        )
    if frames.shape[1:] != size:
        raise UnreadableInputError(f"'{path}' ({place}) cannot be read: it is damaged; get a new copy of it.")
    return np.asarray(frames)


def _frame(frames: Voxels, of_file: Sequence[Slice], s: Slice, place: str) -> Voxels:
    """One frame in HU; GDCM has rescaled all frames of a file by its first one's slope and intercept."""
    if s.frame >= len(frames):
        raise UnreadableInputError(f"'{s.path}' ({place}) cannot be read: it is incomplete; get a new copy of it.")
    plane = frames[s.frame]
    first = min(of_file, key=lambda other: other.frame)
    if len(frames) == 1 or (s.slope, s.intercept) == (first.slope, first.intercept):
        return np.asarray(plane)
    stored = (plane.astype(np.float64) - first.intercept) / first.slope
    rescaled = stored * s.slope + s.intercept
    return np.asarray(np.rint(rescaled).astype(np.int32) if (rescaled == np.rint(rescaled)).all() else rescaled)


def _check_rescaling(volume: Volume, voxels: Voxels) -> None:
    """Refuse a rescaling that is missing or that makes single slices jump."""
    slices = volume.slices
    stated = [(s.slope, s.intercept) for s in slices]
    if any(math.isnan(value) for pair in stated for value in pair) and float(voxels.min()) > _NO_AIR_ABOVE_HU:
        raise NotAChestCTError(
            f"The {volume.name}, lacks RescaleSlope or RescaleIntercept, and its lowest value is {voxels.min():g}, so "
            "that HU cannot be told; export it again with them."
        )
    texts = [f"{slope:g} and {intercept:g}" for slope, intercept in stated]
    usual, count = Counter(texts).most_common(1)[0]
    if count == len(slices):
        return
    for k, text in enumerate(texts):
        near = k - 1 if k else k + 1
        if text == texts[near]:
            continue
        jump = float(np.subtract(voxels[k], voxels[near], dtype=np.float64).mean())
        if abs(jump) > _JUMP_HU:
            odd = k if text != usual else near
            raise NotAChestCTError(
                f"Slice {odd + 1} of {len(slices)} ('{slices[odd].path.name}') has RescaleSlope and RescaleIntercept "
                f"{texts[odd]}, the others {usual}, and differs from its neighbour by {abs(jump):.0f} HU; export the "
                f"{volume.name}, again."
            )
