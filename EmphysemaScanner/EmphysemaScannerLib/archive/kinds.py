"""What can be written for an archive, and who writes it; needs none of the packages that write it."""

from __future__ import annotations

from enum import Enum

from ..i18n import tr as _

MANUFACTURER, PRODUCT = "EmphysemaScanner contributors", "EmphysemaScanner"


class ObjectKind(str, Enum):
    """A kind of DICOM object.

    SEGMENTATION: lungs, and the region that the disease map marks.
    MEASUREMENTS: probability, call, densitometry and image quality warnings, as a structured report.
    MAPS: disease map and evidence, as parametric maps.
    PDF: the report as an encapsulated PDF.
    PAGES: the report's pages as pictures.
    """

    SEGMENTATION = "segmentation"
    MEASUREMENTS = "measurements"
    MAPS = "maps"
    PDF = "pdf"
    PAGES = "pages"

    def label(self) -> str:
        """Its name in the window."""
        return {
            ObjectKind.SEGMENTATION: _("Segmentation (SEG)"),
            ObjectKind.MEASUREMENTS: _("Measurements (SR)"),
            ObjectKind.MAPS: _("Maps (parametric maps)"),
            ObjectKind.PDF: _("Report (encapsulated PDF)"),
            ObjectKind.PAGES: _("Report pages (secondary capture)"),
        }[self]
