"""The numbers of a scan as Slicer's tables: by slice, and densitometry by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk

from ..scan.result import LUNG_MEASURES, ScanResult

POSITION, EVIDENCE, PROBABILITY = "Position S (mm)", "Evidence (logit)", "Running probability"
OPERATING_POINT, LAA = "Operating point", "LAA%-950"
# Saved scenes hold these names.
WEIGHT, SLICE_PROBABILITY = "Attention weight (not evidence)", "Probability of this slice by itself"


def add_slice_table(scene: slicer.vtkMRMLScene, result: ScanResult, name: str) -> slicer.vtkMRMLTableNode:
    """One row for each slice, in reading order; columns as far as the model gives them."""
    return add_table(
        scene,
        name,
        {
            "Slice": result.slice_indices.astype(np.int32),  # 64 bit integers don't survive Slicer's table files
            POSITION: result.slice_positions_mm,
            **told(result, {EVIDENCE: result.slice_evidence, "Running logit": result.running_logit}),
            LAA: result.laa_950_by_slice_percent,
        },
    )


def told(
    result: ScanResult, first: Mapping[str, NDArray[np.float64] | None]
) -> dict[str, NDArray[np.generic] | Sequence[str]]:
    """Columns of what the model gives for each slice; those that it does not give are left out.

    Args:
        first: columns that come before.
    """
    running = result.running_probability
    point = None if running is None else np.full(len(running), result.model.operating_point.probability)
    columns = {
        **first,
        PROBABILITY: running,
        OPERATING_POINT: point,
        WEIGHT: result.slice_weight,
        SLICE_PROBABILITY: result.slice_probability,
    }
    return {title: values for title, values in columns.items() if values is not None}


def add_densitometry_table(scene: slicer.vtkMRMLScene, result: ScanResult, name: str) -> slicer.vtkMRMLTableNode:
    """One row for each region of the lungs."""
    regions = result.densitometry
    columns: dict[str, NDArray[np.generic] | Sequence[str]] = {"Region": list(regions)}
    for measure in LUNG_MEASURES:
        columns[f"{measure.title} ({measure.unit})"] = np.array([measure.of(region) for region in regions.values()])
    return add_table(scene, name, columns)


def add_table(
    scene: slicer.vtkMRMLScene, name: str, columns: Mapping[str, NDArray[np.generic] | Sequence[str]]
) -> slicer.vtkMRMLTableNode:
    """A locked table of columns by their titles."""
    node = scene.AddNewNodeByClass("vtkMRMLTableNode")
    node.SetName(name)
    table = vtk.vtkTable()
    for title, values in columns.items():
        if isinstance(values, np.ndarray):
            column = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
        else:
            column = vtk.vtkStringArray()
            for text in values:
                column.InsertNextValue(text)
        column.SetName(title)
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node
