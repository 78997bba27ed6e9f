"""The table of a batch as Parquet, for programs that take columns with types rather than text."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from pathlib import Path

import numpy as np

from ..base.errors import reason
from ..i18n import tr as _
from .row import BatchError, BatchRow, parsed, row_file


def write_parquet(csv: Path, folder: Path) -> bool:
    """Write the rows of a batch's CSV as Parquet, partitioned by status, in place of what an earlier run wrote there.

    Args:
        csv: as ``batch.run_batch`` left it.
        folder: gets ``status=done`` and ``status=refused``; figures are doubles, missing ones null.

    Returns:
        False if DuckDB, which writes it, is not installed.

    Raises:
        BatchError: it cannot be written; the CSV is whole.
    """
    if importlib.util.find_spec("duckdb") is None:
        return False
    import duckdb

    rows = [row for row in map(parsed, row_file(csv).rows()) if row is not None]
    columns = {field.name: _column(rows, field) for field in dataclasses.fields(BatchRow)}
    new = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
            connection.register("columns", columns)
            text = f"COPY (SELECT {_SELECTED} FROM columns) TO ? (FORMAT parquet, PARTITION_BY (status))"  # noqa: S608
            connection.execute(text, [str(new)])
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    except (duckdb.Error, OSError) as error:
        sentence = _(
            "The table '{csv}' is complete, but '{folder}' cannot be written ({why}); free the place and run again."
        )
        raise BatchError(sentence.format(csv=csv, folder=folder, why=reason(error))) from error
    return True


_SELECTED = ", ".join(
    f"nullif({field.name}, 'nan'::DOUBLE) AS {field.name}" if field.type == "float" else field.name
    for field in dataclasses.fields(BatchRow)
)


def _column(rows: list[BatchRow], field: dataclasses.Field[object]) -> np.ndarray:
    values = [getattr(row, field.name) for row in rows]
    if field.type == "float":
        return np.array(values, np.float64)
    # Names of files may be bytes that are no text.
    return np.array([str(value).encode(errors="replace").decode() for value in values], object)
