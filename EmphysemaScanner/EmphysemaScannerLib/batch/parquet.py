"""The table of a batch as Parquet, for programs that take columns with types rather than text."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path

import numpy as np

from ..base.errors import reason
from ..i18n import tr as _
from ..lungs.scope import Scope
from .columns import Column, Holds, columns_of
from .row import BatchError, parsed, row_file

ROWS_A_FILE = 2048  # of a table with all measures, 12 MB as numbers


def write_parquet(csv: Path, folder: Path) -> bool:
    """Write the rows of a batch's CSV as Parquet, partitioned by status, in place of what an earlier run wrote there.

    Args:
        csv: as ``batch.run_batch`` left it.
        folder: gets ``status=done`` and ``status=refused``, with files of at most ``ROWS_A_FILE`` rows, so that a large
            table needs no more memory; figures are doubles, missing ones null.

    Returns:
        False if DuckDB, which writes it, is not installed.

    Raises:
        BatchError: it cannot be written; the CSV is whole.
    """
    if importlib.util.find_spec("duckdb") is None:
        return False
    import duckdb

    table = row_file(csv)
    written = [column for column in columns_of(Scope.ALL) if column.name in table.columns]
    rows = (row.cells(table.columns) for row in map(parsed, table.rows()) if row is not None)
    new = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
            for number in count():
                if not (some := list(islice(rows, ROWS_A_FILE))):
                    break
                columns = {column.name: _column([row[k] for row in some], column) for k, column in enumerate(written)}
                connection.register("columns", columns)
                options = f"PARTITION_BY (status), OVERWRITE_OR_IGNORE, FILENAME_PATTERN 'data_{number:03}_{{i}}'"
                text = f"COPY (SELECT {_selected(written)} FROM columns) TO ? (FORMAT parquet, {options})"  # noqa: S608
                connection.execute(text, [str(new)])
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    except (duckdb.Error, OSError) as error:
        sentence = _(
            "The table '{csv}' is complete, but '{folder}' cannot be written ({why}); free the place and run again."
        )
        raise BatchError(sentence.format(csv=csv, folder=folder, why=reason(error))) from error
    return True


def _selected(columns: Sequence[Column]) -> str:
    names = (
        f"nullif({column.name}, 'nan'::DOUBLE) AS {column.name}" if column.holds is Holds.NUMBER else column.name
        for column in columns
    )
    return ", ".join(names)


def _column(values: Sequence[object], column: Column) -> np.ndarray:
    if column.holds is Holds.NUMBER:
        return np.array(values, np.float64)
    # Names of files may be bytes that are no text.
    return np.array([str(value).encode(errors="replace").decode() for value in values], object)
