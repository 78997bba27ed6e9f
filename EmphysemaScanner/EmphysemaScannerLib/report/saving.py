"""What the window saves of a result: the kinds of files that were chosen, all of them or none."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from ..base.progress import Progress, silent
from ..i18n import tr as _
from .case import Case
from .outputfolder import whole_or_nothing
from .tablefiles import DENSITOMETRY_FILE, SLICES_FILE, densitometry_csv, slices_csv

HTML_FILE, PDF_FILE = "report.html", "report.pdf"


class Kind(str, Enum):
    """What can be saved."""

    REPORT_HTML = "html"
    REPORT_PDF = "pdf"
    CSV = "csv"
    OVERLAYS = "overlays"

    def label(self) -> str:
        """Its name in the window."""
        return {
            Kind.REPORT_HTML: _("Report (HTML)"),
            Kind.REPORT_PDF: _("Report (PDF)"),
            Kind.CSV: _("Tables (CSV)"),
            Kind.OVERLAYS: _("Overlays (NRRD)"),
        }[self]


def save_case(
    case: Case, folder: Path, kinds: set[Kind], also: Sequence[Path] = (), *, progress: Progress = silent
) -> list[Path]:
    """Write the chosen kinds of files into a folder, whole or not at all.

    Args:
        case: the CT and the answer on it.
        folder: a new or empty one, or one with earlier results of ours, which are replaced: a folder never holds files
            of two scans.
        kinds: what to write.
        also: files that were made elsewhere and are moved into the folder, such as a scene.
        progress: told the share done and the kind; whatever it raises leaves the folder as it was.

    Returns:
        The files, in the order of ``Kind``, then those that were moved.

    Raises:
        OutputFolderError: the folder holds something else, or nothing can be written there.
    """
    with whole_or_nothing(folder) as working:
        names: list[str] = []
        chosen = [kind for kind in Kind if kind in kinds]
        for k, kind in enumerate(chosen):
            progress(k / len(chosen), kind.label())
            names += write(kind, case, working)
        for file in also:
            shutil.move(file, working / file.name)
        progress(1.0, "")
        return [folder / name for name in (*names, *(file.name for file in also))]


def write(kind: Kind, case: Case, folder: Path) -> list[str]:
    """Write one kind of files into an existing folder; their names are returned."""
    if kind is Kind.OVERLAYS:
        from ..scan.mapfiles import write_overlays

        return [path.name for path in write_overlays(case.result, folder)]
    contents: dict[str, str | bytes]
    if kind is Kind.REPORT_HTML:
        from .report import render_report

        contents = {HTML_FILE: render_report(case)}
    elif kind is Kind.REPORT_PDF:
        from .pdfreport import render_pdf

        contents = {PDF_FILE: render_pdf(case)}
    else:
        contents = {SLICES_FILE: slices_csv(case.result), DENSITOMETRY_FILE: densitometry_csv(case.result)}
    for name, content in contents.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return list(contents)
