"""The exact maps of a scan as NRRD files, in the CT's space, for any other program."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from .result import ScanResult


def write_overlays(result: ScanResult, folder: Path) -> tuple[Path, ...]:
    """Write ``evidence.nrrd`` and ``activation_<unit>.nrrd`` for every unit, as far as the model has them.

    The maps are neither interpolated nor cut to the lungs: ``evidence.nrrd`` and the bias sum as ``ScanResult`` says.

    Args:
        result: the answer of a scan.
        folder: an existing folder.

    Returns:
        The files, evidence first.
    """
    evidence = {} if result.evidence is None else {"evidence": result.evidence}
    maps = {**evidence, **{f"activation_{name}": m for name, m in result.activations.items()}}
    written = []
    for name, overlay in maps.items():
        path = folder / f"{name}.nrrd"
        sitk.WriteImage(overlay.grid.to_image(overlay.values), str(path), useCompression=True)
        written.append(path)
    return tuple(written)
