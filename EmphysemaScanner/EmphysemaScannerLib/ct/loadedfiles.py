"""What is known of a CT that another program, such as 3D Slicer, has loaded from DICOM files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from .dicomheader import Other, Slice, slices_in
from .provenance import UNKNOWN, Provenance
from .series import ct_volumes

_LISTED = 4  # volumes in a sentence


def provenance_of(files: Iterable[Path]) -> Provenance:
    """What the files of one volume state of its series.

    The user has chosen them, so nothing is refused: what the rule in ``series`` would leave out is a warning.

    Args:
        files: DICOM; those that are no slices of a CT, or not there any more, are passed over.
    """
    volumes = ct_volumes([s for path in files for s in _slices(path) if s.header.modality == "CT"])
    if not volumes:
        return UNKNOWN
    first, slices = volumes[0], sum(len(v.slices) for v in volumes)
    mixed: tuple[str, ...] = ()
    if len(volumes) > 1:
        names = [v.name for v in volumes[:_LISTED]]
        more = len(volumes) - len(names)
        listed = "; ".join(names + ([f"{more} more"] if more else []))
        mixed = (f"The CT mixes slices of {len(volumes)} volumes: {listed}. Load one of them by itself.",)
    return Provenance(
        series=replace(first.provenance, slices=slices, acquisition="" if mixed else first.acquisition),
        slice_thickness_mm=first.first.thickness_mm,
        warnings=(*mixed, *first.warnings),
    )


def _slices(path: Path) -> Iterable[Slice]:
    found = slices_in(path)
    return () if isinstance(found, Other) else found
