"""Any image as a series of DICOM files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
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


def _decimal(value: float) -> str:
    """DICOM's decimal strings have at most 16 characters."""
    return f"{value:.9g}"
