"""NIfTI files, read by their own header: ITK keeps to itself how it chose between transforms that disagree.

Source: nifti1.h and nifti2.h (nifti.nimh.nih.gov): METHOD 3 (sform) where sform_code is above 0, otherwise METHOD 2
(qform) where qform_code is above 0, otherwise METHOD 1 (pixdim).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..base.errors import GeometryError, NotAChestCTError, damaged

_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOURS = {128: 3, 2304: 4}
_COMPLEX = (32, 1792, 2048)
_MOST_VOXELS = 2 * 10**9
_MOST_BYTES = 2**34
_BLOCK = 1 << 22
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # metres and micrometres; anything else is taken as mm
_SAME_SPACING, _SAME_DIRECTION_DEGREES = 0.001, 0.1
_SKEWED = 1e-3  # of a cosine

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class _Header:
    """What is read of a header; lengths are still in the file's units."""

    order: str
    kind: int
    shape: tuple[int, ...]
    offset: int
    pixdim: tuple[float, ...]
    slope: float
    intercept: float
    mm: float
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    qoffset: tuple[float, ...]
    sform: Matrix


def read_nifti(path: Path) -> tuple[sitk.Image, list[str]]:
    """The image in a NIfTI file, and warnings where its transforms disagree.

    Raises:
        UnreadableInputError: damaged or not complete.
        GeometryError: axes that are not at right angles, no voxel size, or more than one volume.
        NotAChestCTError: in colour, complex, too large, or holding NaN or infinite values.
    """
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            header = _header(file.read(540), path)
            _check(header, path)
            file.seek(header.offset)
            voxels = _voxels(file, header, path)
    except (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise damaged(path) from error
    affine, warnings = _affine(header, path)
    image = sitk.GetImageFromArray(voxels)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    to_lps = np.array([[-1.0], [-1.0], [1.0]])
    image.SetDirection(_right_angled(to_lps * affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((to_lps[:, 0] * affine[:3, 3]).tolist())
    return image, warnings


def _header(raw: bytes, path: Path) -> _Header:
    for order in "<>":
        size = struct.unpack_from(f"{order}i", raw)[0]
        if size == 348 and raw[344:347] == b"n+1":
            return _nifti1(raw, order)
        if size == 540 and raw[4:7] == b"n+2":
            return _nifti2(raw, order)
    raise damaged(path)


def _nifti1(raw: bytes, order: str) -> _Header:
    dim = struct.unpack_from(f"{order}8h", raw, 40)
    pixdim = struct.unpack_from(f"{order}8f", raw, 76)
    offset, slope, intercept = struct.unpack_from(f"{order}3f", raw, 108)
    codes = struct.unpack_from(f"{order}2h6f12f", raw, 252)
    return _Header(
        order, struct.unpack_from(f"{order}h", raw, 70)[0], _shape(dim), int(offset), pixdim, slope, intercept,
        _MM_PER_UNIT.get(raw[123] & 7, 1.0), codes[0], codes[1], codes[2:5], codes[5:8], _rows(codes[8:]),
    )  # fmt: skip


def _nifti2(raw: bytes, order: str) -> _Header:
    dim = struct.unpack_from(f"{order}8q", raw, 16)
    pixdim = struct.unpack_from(f"{order}8d", raw, 104)
    offset, slope, intercept = struct.unpack_from(f"{order}q2d", raw, 168)
    codes = struct.unpack_from(f"{order}2i6d12d", raw, 344)
    units = struct.unpack_from(f"{order}i", raw, 500)[0]
    return _Header(
        order, struct.unpack_from(f"{order}h", raw, 12)[0], _shape(dim), offset, pixdim, slope, intercept,
        _MM_PER_UNIT.get(units & 7, 1.0), codes[0], codes[1], codes[2:5], codes[5:8], _rows(codes[8:]),
    )  # fmt: skip


def _shape(dim: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of the axes that are there, at least three."""
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise ValueError("dimensions that make no sense")
    sizes = list(dim[1 : dim[0] + 1])
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def _rows(values: tuple[float, ...]) -> Matrix:
    return np.vstack([np.array(values, float).reshape(3, 4), [0, 0, 0, 1]])


def _check(header: _Header, path: Path) -> None:
    components = math.prod(header.shape[4:]) if len(header.shape) > 4 and header.shape[3] == 1 else 1
    components = _COLOURS.get(header.kind, components)
    if components > 1:
        raise NotAChestCTError(
            f"'{path}' is a colour image ({components} values per voxel); choose the original CT in Hounsfield units."
        )
    if header.kind in _COMPLEX:
        raise NotAChestCTError(f"'{path}' holds complex numbers; choose the original CT in Hounsfield units.")
    if len(header.shape) != 3:
        raise GeometryError(
            f"'{path}' has {len(header.shape)} dimensions (size {' x '.join(map(str, header.shape))}); choose one CT "
            "volume, not a time series and not a single slice."
        )
    if header.kind not in _TYPES or not 0 <= header.offset < _MOST_BYTES:
        raise damaged(path)
    if math.prod(header.shape) * np.dtype(_TYPES[header.kind]).itemsize >= _MOST_BYTES:
        raise damaged(path)
    if math.prod(header.shape) > _MOST_VOXELS:
        raise NotAChestCTError(
            f"'{path}' states {math.prod(header.shape):.3g} voxels, too many for a chest CT; resample it to "
            f"{_MOST_VOXELS:.0e} or less."
        )


def _voxels(file: BinaryIO | gzip.GzipFile, header: _Header, path: Path) -> NDArray[np.generic]:
    """(slices, rows, columns), rescaled; read in blocks, so that a file that is cut takes no more than it holds."""
    kind = np.dtype(header.order + _TYPES[header.kind])
    left = math.prod(header.shape) * kind.itemsize
    blocks = []
    while left > 0 and (block := file.read(min(left, _BLOCK))):
        blocks.append(block)
        left -= len(block)
    if left > 0:
        raise damaged(path)
    voxels = np.frombuffer(b"".join(blocks), kind).reshape(header.shape[::-1])
    if voxels.dtype.kind == "f" and not np.isfinite(voxels.min() + voxels.max()):
        raise NotAChestCTError(f"'{path}' holds NaN or infinite values; replace them by -1024 (air) and try again.")
    voxels = voxels.astype(kind.newbyteorder("="), copy=False)
    slope = header.slope if math.isfinite(header.slope) else 0.0
    intercept = header.intercept if math.isfinite(header.intercept) else 0.0
    if slope == 0 or (slope, intercept) == (1, 0):  # a slope of 0 means that nothing is rescaled
        return voxels
    rescaled = voxels.astype(np.float64 if kind.itemsize == 8 else np.float32) * slope + intercept
    return np.asarray(rescaled)


def _affine(header: _Header, path: Path) -> tuple[Matrix, list[str]]:
    """Voxel indices to RAS in mm by the method that the codes give, and where the others disagree with it."""
    spacing = np.abs(header.pixdim[1:4])
    found = {}
    if header.sform_code > 0:
        found["sform"] = header.sform
    if header.qform_code > 0:
        found["qform"] = _qform(header, spacing)
    found = found or {"pixdim": np.diag([*spacing, 1.0])}
    valid = {name: matrix for name, matrix in found.items() if _is_valid(matrix)}
    if not valid:
        raise GeometryError(f"'{path}' has no valid voxel size in its {next(iter(found))}; convert the CT again.")
    name, affine = next(iter(valid.items()))
    affine = affine.copy()
    affine[:3] *= header.mm
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > _SKEWED:
        raise GeometryError(f"The axes of '{path}' are not at right angles; resample it onto a straight grid first.")
    warnings = []
    if "sform" in found and name != "sform":
        warnings.append("The sform of the NIfTI header has no valid voxel size; its qform was used.")
    if name != "pixdim":
        warnings += _spacing_differs(name, lengths, "pixdim", spacing * header.mm)
    if name == "sform" and "qform" in valid:
        warnings += _direction_differs(axes, valid["qform"][:3, :3])
    return affine, warnings


def _is_valid(affine: Matrix) -> bool:
    return bool(np.isfinite(affine).all() and np.linalg.norm(affine[:3, :3], axis=0).min() > 0)


def _spacing_differs(name: str, used: Matrix, other: str, stated: Matrix) -> list[str]:
    if np.abs(stated / used - 1).max() <= _SAME_SPACING:
        return []
    sizes = [" x ".join(f"{mm:.4g}" for mm in values) for values in (used, stated)]
    return [
        f"The NIfTI header contradicts itself: voxels of {sizes[0]} mm by its {name}, which was used, and of "
        f"{sizes[1]} mm by its {other}."
    ]


def _direction_differs(axes: Matrix, qform: Matrix) -> list[str]:
    lengths = np.linalg.norm(qform, axis=0)
    turn = np.clip((axes * (qform / lengths)).sum(0), -1, 1)
    sines = np.linalg.norm(np.cross(axes.T, (qform / lengths).T), axis=1)
    angle = float(np.degrees(np.arctan2(sines, turn)).max())
    if angle <= _SAME_DIRECTION_DEGREES:
        return []
    return [
        f"The NIfTI header contradicts itself: its sform, which was used, and its qform differ by {angle:.1f} degrees."
    ]


def _qform(header: _Header, spacing: Matrix) -> Matrix:
    """The transform of a quaternion whose first component follows from the others."""
    b, c, d = header.quaternion
    a2 = 1.0 - (b * b + c * c + d * d)
    if a2 < 1e-7:  # a rotation by 180 degrees; rounding made it longer than 1
        b, c, d = (value / math.sqrt(b * b + c * c + d * d) for value in (b, c, d))
        a2 = 0.0
    a = math.sqrt(a2)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handed = np.array([1.0, 1.0, -1.0 if header.pixdim[0] < 0 else 1.0])
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing * handed
    affine[:3, 3] = header.qoffset
    return affine


def _right_angled(axes: Matrix) -> Matrix:
    """The orthonormal matrix next to one that is so but for rounding."""
    left, _, right = np.linalg.svd(axes)
    return np.asarray(left @ right)
