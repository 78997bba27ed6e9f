"""``docs/measurements.md``: every figure with its unit, definition and source, made from the code that measures it.

``python -m EmphysemaScannerLib.report.measurementspage > docs/measurements.md`` writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..lungs.clusters import BULLA_GRID_MM, BULLA_HU, BULLA_MM, CLUSTER_HU, MOST_LARGEST
from ..lungs.densitometry import HISTOGRAM_HU, LEAST_VOXELS
from ..lungs.measures import CLUSTER_MEASURES, DISTRIBUTION_MEASURES, LUNG_MEASURES, PAIR_MEASURES, LungMeasure
from ..lungs.normalisation import BAND_MM, NOISE_WINDOW_MM, REFERENCE_HU
from ..lungs.reference import REFERENCES

_REGIONS = (
    ("whole, right, left", "both lungs, the right and the left one"),
    ("upper, middle, lower", "thirds of equal volume of both lungs together, cut between slices"),
    ("upper_half, lower_half", "halves of equal volume, cut likewise"),
    ("right_upper to left_lower", "the six zones: the thirds of either lung"),
    ("core, rind", "the inner and the outer half of each lung's volume; only with `--measure all`"),
)


def measurements_page() -> str:
    """The page as Markdown."""
    first, second = BAND_MM
    return "\n".join(
        (
            "# What is measured",
            "",
            "This page is made from the definitions in the code (`lungs/measures.py`); a test holds the two equal.",
            "",
            "Everything is measured in the CT's own voxels inside the lung mask, airways excluded, unless a definition"
            " states another grid. Figures of the histogram are those of every scan. Clusters, bullae, core and rind"
            " and the sliding average are measured when asked: `emphysema-scanner scan --measure all`, in the window"
            " *Settings > Measure everything*, in a program `scan(..., measure=Scope.ALL)`.",
            "",
            "## Regions",
            "",
            *_table(("region", "what it is"), _REGIONS),
            "",
            f"An empty region has the volume 0 and no other figure. A region of fewer than {LEAST_VOXELS:,} voxels has"
            " no percentiles.",
            "",
            "## Density (`densitometry.csv`)",
            "",
            *_measures(LUNG_MEASURES),
            "",
            "Those that the Chest Imaging Platform's GenerateParenchymaPhenotypes also gives are equal to its own, in"
            " the six digits that it prints, in all regions of its test case (`ct-64`).",
            "",
            f"`histogram.csv` has the voxels of each whole HU from {HISTOGRAM_HU[0]} to {HISTOGRAM_HU[-1]} by region.",
            "",
            "## Clusters and bullae (`measurements.csv`)",
            "",
            *_measures(CLUSTER_MEASURES),
            "",
            f"`clusters.csv` has the {MOST_LARGEST} largest clusters below {CLUSTER_HU} HU of each region,"
            " `cluster_sizes.csv` the distribution that D is fitted to. A cluster ends where its region ends. Bullae:"
            f" {BULLA_HU} HU, a ball of {BULLA_MM:g} mm, cells of {BULLA_GRID_MM:g} mm or of the CT's own spacing where"
            " that is wider.",
            "",
            "## Distribution (`measurements.csv`)",
            "",
            *_measures(DISTRIBUTION_MEASURES),
            "",
            "## Normalised density (`measurements.csv`)",
            "",
            "The raw figures are the headline. Where the image quality warnings name noise or a sharp kernel, the"
            " report shows both and states which to trust.",
            "",
            "**As with a smooth kernel** (`smooth_kernel`), after Gallardo-Estrella et al., Eur Radiol 2016;26:478-486:"
            f" each slice is divided by Gaussians of {first:g} and {second:g} mm into bands; a band whose energy in the"
            f" lungs is above that of smooth kernels ({REFERENCE_HU[0]:g} and {REFERENCE_HU[1]:g} HU) is attenuated to"
            " it, up to four times, until the energies stay. Energy is 1.4826 times the median absolute deviation in"
            " lung below -700 HU. Unlike the publication, bands lie in the slices, and no band is amplified or brought"
            " below the highest energy of the twelve smooth CTs that the reference was measured in, so that a smooth CT"
            " stays as it is. Measured on one acquisition with two kernels (Lung-PET-CT-Dx A0001): LAA%-950 raw 13.6"
            " and 0.1, normalised 0.4 and 0.1. That patient has no emphysema; no pair with emphysema was at hand.",
            "",
            "![Lung below -950 HU: sharp kernel, sharp kernel normalised, smooth kernel](gallery/kernel-pair.png)",
            "",
            "One slice of that acquisition (CC BY 4.0), lung below -950 HU in red, with LAA%-950 of both lungs; drawn"
            " by `scripts/kernel_pair.py`.",
            "",
            "In three smooth CTs (LAA%-950 2.6, 2.6 and 33.8) whose fine structures were amplified by half and covered"
            " with noise of 60 HU, raw LAA%-950 rose to 14.4, 16.7 and 36.8; normalised, it was 1.4, 1.5 and 30.1:"
            " nearer to the truth in the first two, and up to 4 points too low.",
            "",
            f"**With less noise** (`less_noise`): the mean of the lung pixels in a square of about {NOISE_WINDOW_MM:g}"
            " mm in the slice, not done where one pixel is as wide. It also lowers true LAA%-950 of small lesions.",
            "",
            "**At another volume**: Perc15 at 6 L, above.",
            "",
            "Patents: a search of public texts, not of patent registers, found for normalisation of multi-scale bands"
            " US 7,321,674 B2 (radiographs; expired), EP 2 419 859 A1 (withdrawn) and, for harmonising CT kernels by"
            " their noise power spectrum, the application US 2026/0134512 A1. Whether they apply was not examined.",
            "",
            "## With an expiratory CT (`measurements.csv`, `ct` is `expiratory_pair`)",
            "",
            *_measures(PAIR_MEASURES),
            "",
            "The response map lies on the inspiratory CT: the expiratory CT is registered to it and interpolated"
            " linearly. Both CTs are taken as they are, without smoothing. How the registration is done, and how well:"
            " [pairs.md](pairs.md).",
            "",
            "## What healthy people have: LAA%-950",
            "",
            *_table(("population", "LAA%-950", "source"), ((r.population, r.value, r.source) for r in REFERENCES)),
            "",
            "Scanner, kernel, slice thickness and breath of these studies differ from those of your CT. They are no"
            " limits of normal. The report narrows them to the patient as far as the publications allow: to the sex,"
            " age, height and weight in the DICOM header (the age also from the date of birth and that of the study),"
            " which `--sex`, `--age`, `--height` and `--weight` override. It states what is known and from where, no"
            " date of birth, and no age above 90 years.",
            "",
        )
    )


def _measures(measures: Iterable[LungMeasure]) -> list[str]:
    rows = ((m.meaning, f"`{m.field}`", m.unit or "-", m.digits, m.definition, m.source or "-") for m in measures)
    return _table(("figure", "name in files", "unit", "digits shown", "definition", "source"), rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    return [f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines]


if __name__ == "__main__":
    print(measurements_page(), end="")
