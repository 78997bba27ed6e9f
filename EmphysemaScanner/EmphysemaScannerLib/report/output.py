"""Everything that a scan writes: figures, report, maps, and images drawn by Slicer."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..scan.serialise import result_to_json
from .case import Case
from .saving import Kind, write

NO_SLICER = "Overlay images and scene.mrb need slicer-core; install it with: pip install slicer-core."


def write_case(case: Case, folder: Path, pictures: bool = True) -> tuple[str, ...]:
    """Write result.json, the report (HTML, PDF), the tables (CSV), the maps (NRRD) and, with slicer-core, images and
    scene.mrb.

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
