"""One DICOM volume as an image, with what is known of it and of the files around it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import SimpleITK as sitk

from ..base.errors import UnreadableInputError
from .dicomfolder import Contents, may_be_slices
from .dicomheader import Other
from .imagefiles import itk_warnings, sentences
from .pixels import read_voxels
from .provenance import LeftOut, Provenance
from .regrid import Straight, straightened
from .series import Volume, left_out
from .stacking import stacked


def read_volume(volume: Volume, others: Sequence[tuple[Volume, str]], found: Contents) -> tuple[sitk.Image, Provenance]:
    """A volume's image in HU, and what is known of it.

    Args:
        volume: the one to read.
        others: those that are left out, and why.
        found: all files that were looked into.

    Raises:
        UnreadableInputError: a file of the volume is damaged.
        NotAChestCTError: its values cannot be brought to HU.
        GeometryError: its slices make no regular stack.
    """
    suspects = may_be_slices(found.others, volume.slices)
    lost = f"; {_suspects(suspects)}" if suspects else ""
    certain = [o for o in suspects if o.series]
    if certain:
        raise UnreadableInputError(f"{_suspects(certain)} of the {volume.name}; obtain a new copy of the CT.")
    stack = stacked(volume, lost)
    with itk_warnings() as warned:
        voxels = read_voxels(volume)
    warnings = [*volume.warnings, *sentences(warned, volume.first.path)]
    if stack.warning:
        warnings.append(stack.warning)
    if suspects:
        count = f"{len(suspects)} file{'s' * (len(suspects) != 1)}"
        warnings.append(f"{count} beside the series cannot be read: slices may be missing at its top or bottom.")
    if stack.is_straight:
        straight = Straight(voxels, stack.positions[0], stack.axes, stack.spacing_mm, "")
    else:
        straight = straightened(voxels, stack)
        warnings.append(straight.warning)
    image = sitk.GetImageFromArray(straight.voxels)
    image.SetOrigin(straight.origin.tolist())
    image.SetDirection(straight.axes.T.ravel().tolist())
    image.SetSpacing(straight.spacing_mm)
    return image, Provenance(volume.provenance, _left_out(others, found), volume.first.thickness_mm, tuple(warnings))


def _left_out(others: Sequence[tuple[Volume, str]], found: Contents) -> tuple[LeftOut, ...]:
    """Volumes, slices of other modalities and other files, most files first."""
    modalities = defaultdict(set)
    for s in found.slices:
        if s.header.modality != "CT":
            modalities[s.header.modality].add(s.path)
    rest = [LeftOut(f"modality {name}", len(paths), "another modality") for name, paths in modalities.items()]
    return tuple(sorted([*left_out(others), *rest, *kinds_of(found.others)], key=lambda one: -one.files))


def _suspects(suspects: Sequence[Other]) -> str:
    first = suspects[0]
    if len(suspects) == 1:
        return f"'{first.path.name}' cannot be read ({first.reason})"
    return f"{len(suspects)} files, such as '{first.path.name}', cannot be read ({first.reason})"


def kinds_of(others: Sequence[Other]) -> list[LeftOut]:
    """Files that are no slices of a CT, counted by kind, most files first."""
    groups: dict[tuple[str, str], int] = defaultdict(int)
    for o in others:
        groups[(o.what, o.reason)] += 1
    found = [LeftOut(what, files, reason) for (what, reason), files in groups.items()]
    return sorted(found, key=lambda one: -one.files)
