"""The numbers of a scan as Slicer's tables: by slice, and densitometry by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk

from ..lungs.measures import LUNG_MEASURES
from ..scan.result import ScanResult, SliceMeasure

POSITION, OPERATING_POINT = "Position S (mm)", "Operating point"


def slice_columns(result: ScanResult) -> dict[str, NDArray[np.generic]]:
    """One row for each slice, in reading order; columns as far as the model gives them."""
    return {
        "Slice": result.slice_indices.astype(np.int32),  # 64 bit integers don't survive Slicer's table files
        POSITION: result.slice_positions_mm,
        **by_slice(result),
    }


def by_slice(result: ScanResult) -> dict[str, NDArray[np.float64]]:
    """All figures of slices by the titles of their columns; the running probability with the operating point."""
    columns = {}
    for measure, values in result.by_slice.items():
        columns[measure.title] = values
        if measure is SliceMeasure.RUNNING_PROBABILITY:
            columns[OPERATING_POINT] = np.full(len(values), result.model.operating_point.probability)
    return columns


def densitometry_columns(result: ScanResult) -> dict[str, NDArray[np.generic] | Sequence[str]]:
    """One row for each region of the lungs."""
    regions = result.densitometry
    columns: dict[str, NDArray[np.generic] | Sequence[str]] = {"Region": list(regions)}
    for measure in LUNG_MEASURES:
        columns[f"{measure.title} ({measure.unit})"] = np.array([measure.of(region) for region in regions.values()])
    shares = {"Extent (%)": result.disease_extent_percent, "Evidence (%)": result.evidence_share_percent}
    for title, percent in shares.items():
        if percent:
            columns[title] = np.array([percent.get(region, np.nan) for region in regions])
    return columns


def add_table(
    scene: slicer.vtkMRMLScene,
    name: str,
    columns: Mapping[str, NDArray[np.generic] | Sequence[str]],
    node: slicer.vtkMRMLTableNode | None = None,
) -> slicer.vtkMRMLTableNode:
    """A locked table of columns by their titles.

    Args:
        scene: gets the new node.
        name: of the node.
        columns: of equal length, by title, in the table's order.
        node: a table that is filled anew; None for one more.
    """
    node = node or scene.AddNewNodeByClass("vtkMRMLTableNode")
    node.SetName(name)
    node.SetAndObserveTable(vtk_table(columns))
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node


def vtk_table(columns: Mapping[str, NDArray[np.generic] | Sequence[str]]) -> vtk.vtkTable:
    """Columns by their titles."""
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
    return table
