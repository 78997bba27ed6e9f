"""The one definition of every figure: title, unit, digits, what it is exactly, and where it comes from.

Tables, reports, CSV files and ``docs/measurements.md`` follow from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .densitometry import LEAST_VOXELS, Densitometry
from .expiration import PairFigures
from .measurements import Clusters, Distribution

Measured = Densitometry | Clusters | Distribution | PairFigures


@dataclass(frozen=True)
class LungMeasure:
    """A figure as every table shows it.

    Attributes:
        field: the attribute of ``Densitometry``, ``Clusters``, ``Distribution`` or ``PairFigures``, and the column in
            CSV files.
        title: over its column.
        meaning: the title in words.
        unit: of the figure.
        digits: behind the decimal point.
        definition: what it is, exactly.
        source: who defined or used it, and whose figures it was compared with.
    """

    field: str
    title: str
    meaning: str
    unit: str
    digits: int
    definition: str
    source: str

    def of(self, region: Measured) -> float:
        """The figure of a region."""
        return float(getattr(region, self.field))

    def text(self, region: Measured) -> str:
        """The figure of a region as tables show it, without unit; a dash where there was nothing to measure."""
        value = self.of(region)
        return f"{value:.{self.digits}f}" if math.isfinite(value) else "-"


_CIP = "Chest Imaging Platform, GenerateParenchymaPhenotypes"
_LAA = {
    950: "Gevenois et al., Am J Respir Crit Care Med 1996;154:187-192",
    925: _CIP,
    910: "Müller et al., Chest 1988;94:782-787",
    856: "Schroeder et al., AJR Am J Roentgenol 2013;201:W460-W470, there in expiration",
}
_HAA = {
    700: _CIP,
    600: "Lederer et al., Am J Respir Crit Care Med 2009;180:407-414, there from -600 to -250 HU",
    500: _CIP,
    250: "Lederer et al. 2009, as the upper end",
}


def _laa(limit: int) -> LungMeasure:
    return LungMeasure(
        f"laa_{limit}_percent",
        f"LAA%-{limit}",
        f"Lung below -{limit} HU (LAA%-{limit})",
        "%",
        1,
        f"Low-attenuation area: share of the voxels strictly below -{limit} HU.",
        _LAA[limit],
    )


def _haa(limit: int) -> LungMeasure:
    return LungMeasure(
        f"haa_{limit}_percent",
        f"HAA%-{limit}",
        f"Lung above -{limit} HU (HAA%-{limit})",
        "%",
        1,
        f"High-attenuation area: share of the voxels strictly above -{limit} HU.",
        _HAA[limit],
    )


def _percentile(percent: int, field: str, title: str, meaning: str, source: str) -> LungMeasure:
    definition = (
        f"The highest whole HU at or below which no more than {percent} % of the voxels lie (up to 1 HU below an"
        f" interpolated percentile); none for fewer than {LEAST_VOXELS:,} voxels."
    )
    return LungMeasure(field, title, meaning, "HU", 0, definition, source)


LAA_950, LAA_925, LAA_910, LAA_856 = (_laa(limit) for limit in (950, 925, 910, 856))
HAA_700, HAA_600, HAA_500, HAA_250 = (_haa(limit) for limit in (700, 600, 500, 250))
PERC10 = _percentile(10, "perc10_hu", "Perc10", "10th percentile (Perc10)", _CIP)
PERC15 = _percentile(
    15,
    "perc15_hu",
    "Perc15",
    "15th percentile (Perc15)",
    "Dirksen et al., Am J Respir Crit Care Med 1999;160:1468-1472",
)
MEDIAN = _percentile(50, "median_hu", "Median", "Median density", _CIP)
MODE = LungMeasure(
    "mode_hu", "Mode", "Commonest density", "HU", 0, "The commonest whole HU, of several the lowest.", _CIP
)
MEAN = LungMeasure("mean_hu", "Mean", "Mean density", "HU", 0, "Mean of the voxels.", _CIP)
SD = LungMeasure(
    "sd_hu", "SD", "Standard deviation of density", "HU", 0, "Standard deviation of the voxels, divided by N.", _CIP
)
_MOMENTS = "Best et al., Radiology 2003;228:407-414"
SKEWNESS = LungMeasure(
    "skewness",
    "Skewness",
    "Skewness of density",
    "",
    2,
    "Third standardised moment, divided by N; 0 if symmetric.",
    _MOMENTS,
)
KURTOSIS = LungMeasure(
    "kurtosis",
    "Kurtosis",
    "Kurtosis of density",
    "",
    2,
    "Fourth standardised moment, divided by N; 3 for a normal distribution (3 is not subtracted).",
    _MOMENTS,
)
VOLUME = LungMeasure("volume_l", "Volume", "Lung volume", "L", 2, "Voxels times the volume of a voxel.", _CIP)
MASS = LungMeasure(
    "mass_g",
    "Mass",
    "Tissue mass",
    "g",
    0,
    "Volume times the density 1 + HU / 1000 g/mL of the mean HU; not below 0.",
    "Coxson et al., Am J Respir Crit Care Med 1999;159:851-856",
)
AIR_VOLUME = LungMeasure(
    "air_volume_l",
    "Air",
    "Air volume",
    "L",
    2,
    "Volume without that of the tissue: volume minus mass / 1000 g/L.",
    "Coxson et al. 1999",
)
VOXELS = LungMeasure("voxels", "Voxels", "Number of voxels", "", 0, "How many voxels were measured.", "")

LUNG_MEASURES = (
    *(LAA_950, LAA_925, LAA_910, LAA_856, HAA_700, HAA_600, HAA_500, HAA_250, PERC10, PERC15, MEDIAN, MODE, MEAN, SD),
    *(SKEWNESS, KURTOSIS, VOLUME, AIR_VOLUME, MASS, VOXELS),
)
"""All figures of ``Densitometry``."""
TABLE_MEASURES = (LAA_950, LAA_910, LAA_856, PERC15, MEAN, SD, VOLUME, MASS)
"""Those of the report's densitometry table."""

_MISHIMA = "Mishima et al., Proc Natl Acad Sci USA 1999;96:8829-8834, there at -960 HU"
_FLEISCHNER = (
    "Bulla: Hansell et al. (Fleischner Society), Radiology 2008;246:697-722; the threshold: Mishima et al. 1999"
)
CLUSTER_EXPONENT = LungMeasure(
    "exponent",
    "D",
    "Cluster exponent D",
    "",
    2,
    "Exponent of Y = K X^-D, Y being the number of areas below -950 HU in the slices (pixels connected by sides) that"
    " are at least as large as X: slope of the least-squares line through log X and log Y, one point for each size that"
    " occurs; none for fewer than 5 sizes. Small where areas have merged.",
    _MISHIMA,
)
CLUSTER_COUNT = LungMeasure(
    "count", "Areas", "Areas below -950 HU in the slices", "", 0, "How many areas D was fitted to.", _MISHIMA
)
LARGEST_CLUSTER = LungMeasure(
    "largest_cluster_ml",
    "Largest cluster",
    "Largest cluster below -950 HU",
    "mL",
    1,
    "Volume of the largest set of voxels below -950 HU that are connected by their faces within the region;"
    " clusters.csv has the ten largest.",
    "",
)
BULLA_VOLUME = LungMeasure(
    "bulla_volume_ml",
    "Bullae",
    "Volume of low spaces of 1 cm (bullae)",
    "mL",
    1,
    "Volume of the places where a ball of 1 cm diameter fits into lung below -960 HU, on the CT averaged to cells of"
    " about 2 mm of which at least half is lung, after a median filter of 3 x 3 x 3 cells; with low cells beside them."
    " Walls are not looked for: confluent emphysema counts, too.",
    _FLEISCHNER,
)
BULLA_COUNT = LungMeasure(
    "bulla_count",
    "Number of bullae",
    "Number of low spaces of 1 cm (bullae)",
    "",
    0,
    "Connected ones of these places.",
    _FLEISCHNER,
)
CLUSTER_MEASURES = (CLUSTER_EXPONENT, CLUSTER_COUNT, LARGEST_CLUSTER, BULLA_VOLUME, BULLA_COUNT)
"""All single figures of ``Clusters``."""

_WASHKO = "Washko et al. (NETT), Am J Respir Crit Care Med 2010;181:494-500"
_RATIO = "none where the latter is below 0.1 %."
UPPER_LOWER_HALF = LungMeasure(
    "upper_lower_half_ratio",
    "Upper / lower half",
    "Upper to lower half",
    "",
    2,
    f"LAA%-950 of the upper half of the lung volume over that of the lower half, cut between slices; {_RATIO}",
    _WASHKO,
)
UPPER_LOWER_THIRD = LungMeasure(
    "upper_lower_third_ratio",
    "Upper / lower third",
    "Upper to lower third",
    "",
    2,
    f"LAA%-950 of the upper third of the lung volume over that of the lower third, cut between slices; {_RATIO}",
    _WASHKO,
)
CORE_RIND = LungMeasure(
    "core_rind_ratio",
    "Core / rind",
    "Core to rind",
    "",
    2,
    "LAA%-950 of the core over that of the rind. The core is the half of each lung's volume that lies deepest, counted"
    f" from the lung's surface on a grid of about 3 mm with vessels and airways filled; the rind is the rest; {_RATIO}",
    "Nakano et al., Am J Respir Crit Care Med 2001;164:2195-2199",
)
ZONE_SCORE = LungMeasure(
    "zone_score",
    "Zone score",
    "Six-zone score from LAA%-950 (0 to 24)",
    "",
    0,
    "Sum over the thirds of either lung of 0 (LAA%-950 below 5 %), 1 (below 25 %), 2 (below 50 %), 3 (below 75 %) or 4:"
    " like Goddard's visual score, but from LAA%-950 and not from what a reader sees.",
    "The classes: Goddard et al., Clin Radiol 1982;33:379-387; the limit of 5 % is ours",
)
PERC15_AT_6_L = LungMeasure(
    "perc15_at_6_l_g_per_l",
    "Perc15 at 6 L",
    "15th percentile of density at a volume of 6 L",
    "g/L",
    0,
    "(1000 + Perc15) times lung volume / 6 L: the density that a lung of the same tissue would have at 6 L (sponge"
    " model). For two CTs of one patient at different depths of breath, not for comparisons between patients.",
    "Dirksen et al. 1999; Stoel et al., Proc Am Thorac Soc 2008;5:919-924",
)
DISTRIBUTION_MEASURES = (UPPER_LOWER_HALF, UPPER_LOWER_THIRD, CORE_RIND, ZONE_SCORE, PERC15_AT_6_L)
"""All figures of ``Distribution``."""

_GALBAN = "Galbán et al., Nat Med 2012;18:1711-1715"
_PAIRED = "each in the CT's own lung mask"

VOLUME_IN = LungMeasure(
    "inspiratory_volume_l", "Vol. insp.", "Volume in inspiration", "L", 2, f"Lung volume, {_PAIRED}.", _CIP
)
VOLUME_EX = LungMeasure(
    "expiratory_volume_l", "Vol. exp.", "Volume in expiration", "L", 2, f"Lung volume, {_PAIRED}.", _CIP
)
VOLUME_RATIO = LungMeasure(
    "volume_ratio",
    "Vol. E/I",
    "Expiratory to inspiratory volume",
    "",
    2,
    "Volume in expiration over volume in inspiration: how far the patient breathed out.",
    "",
)
MEAN_IN = LungMeasure(
    "inspiratory_mean_hu", "Mean insp.", "Mean density in inspiration", "HU", 0, f"Mean of the voxels, {_PAIRED}.", _CIP
)
MEAN_EX = LungMeasure(
    "expiratory_mean_hu", "Mean exp.", "Mean density in expiration", "HU", 0, f"Mean of the voxels, {_PAIRED}.", _CIP
)
MEAN_DIFFERENCE = LungMeasure(
    "mean_difference_hu",
    "Mean E - I",
    "Change of mean density",
    "HU",
    0,
    "Mean density in expiration less that in inspiration; small where air is trapped.",
    "Akira et al., AJR Am J Roentgenol 2009;192:267-272",
)
MEAN_RATIO = LungMeasure(
    "mean_ratio",
    "Mean E/I",
    "Expiratory to inspiratory mean density",
    "",
    2,
    "Mean density (HU) in expiration over that in inspiration; near 1 where air is trapped.",
    "Akira et al., AJR Am J Roentgenol 2009;192:267-272",
)
AIR_TRAPPING = LungMeasure(
    "air_trapping_percent",
    "Air trapping",
    "Air trapping (expiratory LAA%-856)",
    "%",
    1,
    "Share of the voxels of the expiratory CT strictly below -856 HU, emphysema included.",
    _LAA[856].removesuffix(", there in expiration"),
)
VOLUME_CHANGE = LungMeasure(
    "volume_change_percent",
    "RVC",
    "Relative volume change, -856 to -950 HU",
    "%",
    1,
    "Share of the voxels from -950 to below -856 HU among those of at least -950 HU, in expiration less in"
    " inspiration; near 0 or above where air is trapped.",
    "After Matsuoka et al., AJR Am J Roentgenol 2008;190:762-769, there from -860 HU",
)


def _prm(field: str, title: str, meaning: str, definition: str) -> LungMeasure:
    return LungMeasure(field, title, meaning, "%", 1, definition, _GALBAN)


_AMONG = "share of the voxels that have a class"
PRM_EMPHYSEMA = _prm(
    "prm_emphysema_percent",
    "Emphysema",
    "Response map: emphysema",
    f"Below -950 HU in inspiration and below -856 HU in expiration; {_AMONG}.",
)
PRM_SMALL_AIRWAYS = _prm(
    "prm_small_airways_percent",
    "fSAD",
    "Response map: functional small airways disease",
    f"At least -950 HU in inspiration and below -856 HU in expiration; {_AMONG}.",
)
PRM_NORMAL = _prm(
    "prm_normal_percent",
    "Normal",
    "Response map: normal",
    f"At least -950 HU in inspiration and at least -856 HU in expiration; {_AMONG}.",
)
PRM_UNCLASSIFIED = _prm(
    "prm_unclassified_percent",
    "Unclassified",
    "Response map: unclassified",
    f"Below -950 HU in inspiration and at least -856 HU in expiration; {_AMONG}.",
)
PRM_VOXELS = LungMeasure(
    "prm_voxels_percent",
    "Classed",
    "Lung that has a class",
    "%",
    0,
    "Share of the inspiratory lung that has a class: the registered expiratory CT has lung there, too, and both CTs are"
    " below -500 HU, so that vessels have none.",
    "",
)
BREATH_MEASURES = (
    *(VOLUME_IN, VOLUME_EX, VOLUME_RATIO, MEAN_IN, MEAN_EX, MEAN_DIFFERENCE, MEAN_RATIO, AIR_TRAPPING, VOLUME_CHANGE),
)
RESPONSE_MEASURES = (PRM_EMPHYSEMA, PRM_SMALL_AIRWAYS, PRM_NORMAL, PRM_UNCLASSIFIED, PRM_VOXELS)
PAIR_MEASURES = (*BREATH_MEASURES, *RESPONSE_MEASURES)
"""All figures of ``PairFigures``: those of the two CTs by themselves, then those of the response map."""
