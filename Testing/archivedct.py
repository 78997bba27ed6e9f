"""The phantom as a complete DICOM series of a patient, and a result on it as a scan gives it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from dicomfiles import write_dicom
from EmphysemaScannerLib.ct.grid import Grid, canonical_view, voxels_sha256
from EmphysemaScannerLib.ct.reading import CT, read_ct
from EmphysemaScannerLib.lungs.regions import LOBES, MaskKind, Origin
from EmphysemaScannerLib.models.modelcard import DiseaseMap
from EmphysemaScannerLib.scan.manifest import run_manifest
from EmphysemaScannerLib.scan.result import OverlayMap, ScanResult
from phantom import phantom_image
from storedct import stored

FLOOR = 0.3
STUDY: dict[str, object] = {
    "StudyInstanceUID": "1.2.826.0.1.3680043.2.1143.1",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.2.1143.2",
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientID": "PID-4711",
    "PatientName": "Müller^Erika",
    "PatientBirthDate": "19640812",
    "PatientSex": "F",
    "PatientAge": "061Y",
    "StudyDate": "20250102",
    "StudyTime": "101112",
    "StudyDescription": "CT chest",
    "AccessionNumber": "ACC-0815",
    "StudyID": "7",
    "ReferringPhysicianName": "Wunderlich^Carla",
    "SeriesNumber": 4,
    "ContentDate": "20250102",
    "ContentTime": "101213",
    "Manufacturer": "A maker of scanners",
    "KVP": "120",
    "AcquisitionNumber": 1,
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": None,
}


def small_phantom() -> sitk.Image:
    """Every second slice, row and column of the phantom."""
    return phantom_image()[::2, ::2, ::2]


def write_series(folder: Path, image: sitk.Image | None = None, **changes: object) -> list[Path]:
    """A CT series; a small phantom, its slices stored from the feet on, if no image is given."""
    attributes = {name: value for name, value in {**STUDY, **changes}.items() if value is not None}
    return write_dicom(folder, sitk.Clamp(image or small_phantom(), lowerBound=-1024), **attributes)


def turned_series(folder: Path) -> list[Path]:
    """The phantom in the order of slices from the head on, its rows from the back to the front: a prone patient's."""
    return write_series(folder, stored(small_phantom(), (0, 1, 2), (False, True, True)))


def tilted_series(folder: Path) -> list[Path]:
    """The phantom as if the gantry had been tilted: each slice lies 1.4 mm further back than the one below it."""
    image = small_phantom()

    def position(k: int) -> list[str]:
        x, y, z = image.TransformIndexToPhysicalPoint((0, 0, k))
        return [f"{mm:.9g}" for mm in (x, y + 1.4 * k, z)]

    return write_series(folder, image, ImagePositionPatient=position)


def result_on(ct: CT, result: ScanResult) -> ScanResult:
    """A result, moved onto a CT of the phantom: lungs by the CT's own voxels, a disease map, and the CT's checksum."""
    hu, grid = canonical_view(ct.image)
    labels = np.where((hu < -700) & (hu > -980), np.where(np.arange(grid.shape[2]) < grid.shape[2] / 2, 1, 2), 0)
    coarse = grid.resized((35, 16, 16))
    disease = np.random.default_rng(5).random(coarse.shape).astype(np.float32)
    known = DiseaseMap(("asc1",), (0.0,) * 4, 0.0, FLOOR, "nothing")
    return dataclasses.replace(
        result,
        lung_mask=OverlayMap(labels.astype(np.uint8), grid),
        evidence=OverlayMap(result.evidence.values, grid.resized((35, 8, 8))) if result.evidence else None,
        disease=OverlayMap(disease, coarse),
        disease_extent_percent=dict.fromkeys(result.densitometry, 4.25),
        model=dataclasses.replace(result.model, disease_map=known),
        provenance=ct.provenance,
        run=run_manifest("ab" * 32, voxels_sha256(hu), "cpu", "float32"),
    )


def with_lobes(result: ScanResult) -> ScanResult:
    """The result with lobes from a label file: thirds of the right lung's height, halves of the left one's."""
    sides, lobes = result.lung_mask.values, np.zeros(result.lung_mask.values.shape, np.uint8)
    for side, numbers in ((1, (3, 2, 1)), (2, (5, 4))):
        slices = np.flatnonzero((sides == side).any(axis=(1, 2)))
        for number, part in zip(numbers, np.array_split(slices, len(numbers)), strict=True):
            lobes[part] = np.where(sides[part] == side, number, lobes[part])
    return dataclasses.replace(
        result,
        lobe_mask=OverlayMap(lobes, result.lung_mask.grid),
        lobes_from=Origin(MaskKind.FILE),
        densitometry={**result.densitometry, **{lobe.value: result.densitometry["left"] for lobe in LOBES}},
    )


def mask_on(slices: CT, values: np.ndarray, grid: Grid) -> dict[str, np.ndarray]:
    """Values of a grid on each stored slice by its SOPInstanceUID: resampled by SimpleITK, independently of ours."""
    assert slices.volume is not None
    moving, found = grid.to_image(values), {}
    for one in slices.volume.slices:
        rows, columns = one.size
        plane = sitk.Image([columns, rows, 1], moving.GetPixelID())
        plane.SetOrigin(one.position.tolist())
        plane.SetSpacing((one.pixel_mm[1], one.pixel_mm[0], 1.0))
        plane.SetDirection(np.stack([*one.axes, one.normal]).T.ravel().tolist())
        resampled = sitk.Resample(moving, plane, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        found[one.instance] = sitk.GetArrayFromImage(resampled)[0]
    return found


def read(folder: Path) -> CT:
    """The CT in a folder."""
    return read_ct(folder)
