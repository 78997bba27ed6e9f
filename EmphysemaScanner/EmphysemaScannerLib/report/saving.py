"""A result's files: all that the command line writes, or the kinds that a user of the window chose."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from ..base.progress import Progress, silent
from ..i18n import tr as _
from ..scan.serialise import result_to_json
from .contents import Case
from .outputfolder import whole_or_nothing
from .tablefiles import DENSITOMETRY_FILE, SLICES_FILE, densitometry_csv, further_csvs, slices_csv

NO_SLICER = "Overlay images and scene.mrb need slicer-core; install it with: pip install slicer-core."


HTML_FILE, PDF_FILE = "report.html", "report.pdf"


class Kind(str, Enum):
    """What can be saved."""

    REPORT_HTML = "html"
    REPORT_PDF = "pdf"
    CSV = "csv"
    PLOTS = "plots"
    OVERLAYS = "overlays"

    def label(self) -> str:
        """Its name in the window."""
        return {
            Kind.REPORT_HTML: _("Report (HTML)"),
            Kind.REPORT_PDF: _("Report (PDF)"),
            Kind.CSV: _("Tables (CSV)"),
            Kind.PLOTS: _("Plots (PNG, SVG)"),
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
        from ..scan.serialise import write_overlays

        return [path.name for path in write_overlays(case.result, folder)]
    if kind is Kind.PLOTS:
        return write_plots(case, folder)
    contents: dict[str, str | bytes]
    if kind is Kind.REPORT_HTML:
        from .report import render_report

        contents = {HTML_FILE: render_report(case)}
    elif kind is Kind.REPORT_PDF:
        from .pdfreport import render_pdf

        contents = {PDF_FILE: render_pdf(case)}
    else:
        contents = {
            SLICES_FILE: slices_csv(case.result),
            DENSITOMETRY_FILE: densitometry_csv(case.result),
            **further_csvs(case.result),
        }
    for name, content in contents.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return list(contents)


def write_plots(case: Case, folder: Path) -> list[str]:
    """Write the plots of lung density into an existing folder, each as PNG and SVG; their names are returned."""
    from .densitychart import density_charts

    names = []
    for name, figure in density_charts(case.result).items():
        figure.savefig(folder / f"{name}.png", dpi=200)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        names += [f"{name}.png", f"{name}.svg"]
    return names


def write_case(case: Case, folder: Path, pictures: bool = True) -> tuple[str, ...]:
    """Write what a result has into a folder.

    That is result.json, the report (HTML, PDF), the tables (CSV), the plots (PNG, SVG), the maps (NRRD) and, with
    slicer-core, images and scene.mrb.

    Args:
        case: the CT and the answer on it.
        folder: an existing folder.
        pictures: whether Slicer's pictures and scene are wanted.

    Returns:
        One sentence for each thing that could not be written here.
    """
    (folder / "result.json").write_text(result_to_json(case.result) + "\n", encoding="utf-8")
    for kind in Kind:
        write(kind, case, folder)
    if not pictures:
        return ()
    if importlib.util.find_spec("slicer") is None:
        return (NO_SLICER,)
    from ..scene.export import export_scan
    from ..scene.offscreen import RenderingUnavailableError

    try:
        export_scan(case.image, case.result, folder, lesions=case.lesions)
    except RenderingUnavailableError as error:
        return (f"Overlay images and scene.mrb are missing: {error}",)
    return ()
