"""CTs of any size for the benchmark: LIDC-IDRI-0001, resampled."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[1]


def make_ct(size: tuple[int, int, int]) -> Any:
    """Columns, rows and slices, int16."""
    from EmphysemaScannerLib.ct.reading import read_ct
    from EmphysemaScannerLib.simulator.samples import CT_FILE

    ct = read_ct(CT_FILE).image
    old, new = np.array(ct.GetSize()), np.array(size)
    grid = sitk.Image(size, sitk.sitkInt16)
    grid.SetSpacing((np.array(ct.GetSpacing()) * old / new).tolist())
    grid.SetDirection(ct.GetDirection())
    grid.SetOrigin(ct.TransformContinuousIndexToPhysicalPoint((old / new / 2 - 0.5).tolist()))
    return sitk.Resample(ct, grid, sitk.Transform(), sitk.sitkLinear, -1024, sitk.sitkInt16)


def write_ct(path: Path, size: tuple[int, int, int]) -> Path:
    """An uncompressed file, or a DICOM folder if the path has no suffix."""
    if path.suffix:
        sitk.WriteImage(make_ct(size), str(path))
    else:
        sys.path.append(str(ROOT / "Testing"))
        from dicomfiles import write_dicom

        write_dicom(path, make_ct(size))
    return path
