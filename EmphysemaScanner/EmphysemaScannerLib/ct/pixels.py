"""The Hounsfield units of slices, read by GDCM, whatever their transfer syntax."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.errors import NotAChestCTError, UnreadableInputError
from ..base.parallel import in_threads, pieces
from .dicomheader import Other, Slice, slices_in
from .imagefiles import check_name
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
        for path, here in files:
            place = f"slice {here[0] + 1} of {len(slices)}" if len(here) == 1 else f"{len(here)} slices"
            if slices[here[0]].stored is None:
                frames = _frames(path, place, slices[0].size)
                for k in here:
                    keep(k, _frame(frames, slices[k], place))
            else:
                for k in here:
                    keep(k, _stored_frame(slices[k], place))

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


def _stored_frame(s: Slice, place: str) -> Voxels:
    """(rows, columns) of one frame of an uncompressed file, in HU."""
    assert s.stored is not None
    count = s.size[0] * s.size[1]
    kind = np.dtype("<i2" if s.stored.is_signed else "<u2")
    numbers = np.fromfile(s.path, kind, count, offset=s.stored.offset + s.frame * count * kind.itemsize)
    if len(numbers) < count:
        raise _unreadable(s.path, place)
    unused = 16 - s.stored.bits
    if unused:  # they may hold an overlay
        numbers = (numbers << unused) >> unused
    return _rescaled(numbers.reshape(s.size), s.slope, s.intercept)


def _rescaled(numbers: Voxels, slope: float, intercept: float) -> Voxels:
    slope, intercept = (1.0 if math.isnan(slope) else slope), (0.0 if math.isnan(intercept) else intercept)
    if slope == 1 and intercept == round(intercept):
        return np.asarray(numbers.astype(np.int32) + int(intercept))
    rescaled = numbers.astype(np.float64) * slope + intercept
    return np.asarray(rescaled.astype(np.int32) if (rescaled == np.rint(rescaled)).all() else rescaled)


def _frames(path: Path, place: str, size: tuple[int, int]) -> Voxels:
    """(frames, rows, columns) of a file, which GDCM decodes, and rescales all as the first frame is."""
    check_name(path)
    try:
        frames = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    except RuntimeError as error:
        raise _unreadable(path, place) from error
    frames = frames[None] if frames.ndim == 2 else frames
    if frames.ndim != 3:
        raise NotAChestCTError(
            f"'{path}' is a colour image ({frames.shape[-1]} values per voxel); choose the original CT in Hounsfield "
            "units."
        )
    if frames.shape[1:] != size:
        raise _unreadable(path, place)
    return np.asarray(frames)


def _unreadable(path: Path, place: str) -> UnreadableInputError:
    return UnreadableInputError(
        f"'{path}' ({place}) cannot be read: it is damaged, incomplete or compressed in an unsupported way; get a new "
        "copy of it."
    )


def _frame(frames: Voxels, s: Slice, place: str) -> Voxels:
    """One frame in HU; GDCM has rescaled all frames of a file by its first one's slope and intercept."""
    if s.frame >= len(frames):
        raise _unreadable(s.path, place)
    plane = frames[s.frame]
    if s.frame == 0:
        return np.asarray(plane)
    frames_of_file = slices_in(s.path)
    assert not isinstance(frames_of_file, Other)
    first = frames_of_file[0]
    if (s.slope, s.intercept) == (first.slope, first.intercept):
        return np.asarray(plane)
    return _rescaled((plane.astype(np.float64) - first.intercept) / first.slope, s.slope, s.intercept)


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
