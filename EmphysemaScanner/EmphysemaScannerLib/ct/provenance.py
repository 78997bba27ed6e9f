"""Where a CT's voxels came from: the series that was read, and what was left out. No patient names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    r"""A DICOM series, or the part of one that makes a single volume; "" and 0 where DICOM states nothing.

    Attributes:
        number: SeriesNumber (0020,0011).
        description: SeriesDescription (0008,103E).
        kernel: ConvolutionKernel (0018,1210).
        image_type: ImageType (0008,0008), joined with backslashes, such as "ORIGINAL\\PRIMARY\\AXIAL".
        slices: number of slices.
        acquisition: AcquisitionNumber (0020,0012), given where the series holds several acquisitions.
    """

    number: str = ""
    description: str = ""
    kernel: str = ""
    image_type: str = ""
    slices: int = 0
    acquisition: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Files that were found beside the CT and not read.

    Attributes:
        what: what they are, such as "series 3 'MinIP', kernel B30f, 133 slices" or "key image".
        files: number of files.
        reason: why they were left out, as a part of a sentence.
    """

    what: str
    files: int
    reason: str


@dataclass(frozen=True)
class Provenance:
    """What is known of a CT beside its voxels.

    Attributes:
        series: the DICOM series that was read; None for another kind of file.
        left_out: what lay beside it and was not read, largest first.
        slice_thickness_mm: SliceThickness (0018,0050); 0 where nothing is stated.
        warnings: image quality warnings that arose from reading, as sentences with the figure.
    """

    series: Series | None = None
    left_out: tuple[LeftOut, ...] = ()
    slice_thickness_mm: float = 0.0
    warnings: tuple[str, ...] = ()


UNKNOWN = Provenance()
"""Of a CT of which nothing but its voxels is known."""
