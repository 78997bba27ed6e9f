"""Any image as a series of DICOM files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write_dicom(folder: Path, image: sitk.Image, names: list[str] | None = None, **changes: object) -> list[Path]:
    """One file a slice along the image's last axis, in the image's geometry.

    Args:
        image: in HU, whole numbers from -1024 on.
        names: of the files; 0000.dcm and so on if None.
        changes: replace attributes; a callable gets the slice's number, None deletes the attribute.
    """
    folder.mkdir(parents=True, exist_ok=True)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    hu, series, paths = sitk.GetArrayFromImage(image), generate_uid(), []
    for k in range(image.GetDepth()):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        file.SeriesInstanceUID, file.StudyInstanceUID = series, "1.2.3"
        file.Modality, file.SeriesDescription, file.ImageType = "CT", "chest", ["ORIGINAL", "PRIMARY", "AXIAL"]
        file.Rows, file.Columns = hu.shape[1:]
        file.PixelSpacing = [_decimal(mm) for mm in image.GetSpacing()[1::-1]]
        file.ImageOrientationPatient = [_decimal(cosine) for cosine in direction[:, :2].T.ravel()]
        file.ImagePositionPatient = [_decimal(mm) for mm in image.TransformIndexToPhysicalPoint((0, 0, k))]
        file.SliceThickness = _decimal(image.GetSpacing()[2])
        file.InstanceNumber = k + 1
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
        file.RescaleSlope, file.RescaleIntercept = 1, -1024
        file.PixelData = np.clip(hu[k] + 1024, 0, None).astype("<u2").tobytes()
        for name, value in changes.items():
            if value is None:
                delattr(file, name)
            else:
                setattr(file, name, value(k) if callable(value) else value)
        paths.append(folder / (names[k] if names else f"{k:04}.dcm"))
        file.save_as(paths[-1], enforce_file_format=True)
    return paths


def enhanced_dicom(
    path: Path,
    image: sitk.Image,
    order: Sequence[int] = (),
    *,
    second: sitk.Image | None = None,
    intercepts: Sequence[int] = (),
    legacy: bool = False,
    syntax: str = "",
    **changes: object,
) -> Path:
    """An image as one file of an enhanced CT, with kernel B30f.

    Args:
        path: of the file.
        image: in HU, whole numbers from -1024 on.
        order: of the slices in the file; as in the image if empty.
        second: another phase in the same place.
        intercepts: of each frame in the order of the file; shared by all, -1024, if empty.
        legacy: whether it is a legacy converted one.
        syntax: transfer syntax; uncompressed if empty.
        changes: replace attributes of the whole file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.2.{2 if legacy else 1}"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.SeriesInstanceUID, file.StudyInstanceUID, file.Modality = generate_uid(), "1.2.3", "CT"
    file.ImageType, file.SeriesDescription = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "chest"
    phases = [image] if second is None else [image, second]
    frames = [
        (phase, k, sitk.GetArrayFromImage(volume)[k], volume.TransformIndexToPhysicalPoint((0, 0, k)))
        for phase, volume in enumerate(phases)
        for k in order or range(image.GetDepth())
    ]
    file.NumberOfFrames, file.Rows, file.Columns = len(frames), image.GetHeight(), image.GetWidth()
    shared = [
        ("PixelMeasuresSequence", {"PixelSpacing": [_decimal(mm) for mm in image.GetSpacing()[1::-1]],
                                   "SliceThickness": _decimal(image.GetSpacing()[2])}),
        ("PlaneOrientationSequence", {"ImageOrientationPatient": [_decimal(c) for c in direction[:, :2].T.ravel()]}),
        ("CTReconstructionSequence", {"ConvolutionKernel": "B30f"}),
        ("CTImageFrameTypeSequence", {"FrameType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]}),
    ]  # fmt: skip
    if not intercepts:
        shared.append(("PixelValueTransformationSequence", _rescaling(-1024)))
    file.SharedFunctionalGroupsSequence = [_groups(shared)]
    file.PerFrameFunctionalGroupsSequence = [
        _groups([
            ("PlanePositionSequence", {"ImagePositionPatient": [_decimal(mm) for mm in position]}),
            ("FrameContentSequence", {"InStackPositionNumber": k + 1, "TemporalPositionIndex": phase + 1}),
            *([("PixelValueTransformationSequence", _rescaling(intercepts[n]))] if intercepts else []),
        ])
        for n, (phase, k, _, position) in enumerate(frames)
    ]  # fmt: skip
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    numbers = [hu.astype(int) - (intercepts[n] if intercepts else -1024) for n, (_, _, hu, _) in enumerate(frames)]
    file.PixelData = np.stack(numbers).clip(0).astype("<u2").tobytes()
    for name, value in changes.items():
        setattr(file, name, value)
    if syntax:
        file.compress(syntax, generate_instance_uid=False)
    file.save_as(path, enforce_file_format=True)
    return path


def _groups(groups: Sequence[tuple[str, dict[str, object]]]) -> Dataset:
    """An item of functional groups: each a sequence of one item with some attributes."""
    item = Dataset()
    for name, attributes in groups:
        group = Dataset()
        for attribute, value in attributes.items():
            setattr(group, attribute, value)
        setattr(item, name, [group])
    return item


def _rescaling(intercept: int) -> dict[str, object]:
    return {"RescaleIntercept": intercept, "RescaleSlope": 1, "RescaleType": "HU"}


def small_ct(slices: int = 24, apart_mm: float = 5.0, rows: int = 5, columns: int = 4) -> sitk.Image:
    """The fewest voxels that can be a chest by their geometry; by default each has another value."""
    hu = np.arange(slices * rows * columns).reshape(slices, rows, columns) % 480 - 1000
    image = sitk.GetImageFromArray(hu.astype(np.int16))
    image.SetSpacing((0.8, 0.7, apart_mm))
    image.SetOrigin((-10.0, -20.0, -300.0))
    return image


def _decimal(value: float) -> str:
    """DICOM's decimal strings have at most 16 characters."""
    return f"{value:.9g}"
