"""Where the lungs lie along each axis of a CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..base.parallel import in_threads, pieces


@dataclass(frozen=True)
class Shadow:
    """Where the lungs lie along each axis of the CT.

    Attributes:
        by_slice: (2, slices), voxels of the right and of the left lung.
        slices, rows, columns: those with lung in them, ascending.
        shape: of the CT.
    """

    by_slice: NDArray[np.int64]
    slices: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, labels: NDArray[np.uint8]) -> Shadow:
        """The shadow of a lung mask as from ``lungs.segment_lungs``, (slices, rows, columns)."""
        by_slice = np.zeros((2, len(labels)), np.int64)

        def project(numbers: range) -> NDArray[np.uint8]:
            for k in numbers:
                by_slice[0, k] = np.count_nonzero(labels[k] == 1)
                by_slice[1, k] = np.count_nonzero(labels[k]) - by_slice[0, k]
            return np.asarray(np.bitwise_or.reduce(labels[numbers.start : numbers.stop], axis=0))

        flat = np.bitwise_or.reduce(in_threads(project, pieces(len(labels))), axis=0)
        slices, rows, columns = (np.flatnonzero(used) for used in (by_slice.any(0), flat.any(1), flat.any(0)))
        return cls(by_slice, slices, rows, columns, labels.shape)
