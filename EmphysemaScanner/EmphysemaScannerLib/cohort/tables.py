"""Tables in CSV or Parquet, read with DuckDB: only the columns and rows that are asked for, nothing from a network."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import EmphysemaScannerError, MissingPackageError, reason

if TYPE_CHECKING:
    import duckdb


class TableError(EmphysemaScannerError):
    """A table cannot be read, lacks a column, or holds nothing of use."""


class Database:
    """Tables in memory."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def create(self, table: str, path: Path, columns: Sequence[str], query: str, **values: object) -> None:
        """Make a table from a file.

        Args:
            table: its name.
            path: CSV or Parquet.
            columns: those that the query needs.
            query: SQL that selects from ``{source}``.
            values: the query's ``$name`` parameters.

        Raises:
            TableError: no file, neither CSV nor Parquet, damaged, or a column is missing.
        """
        import duckdb

        if not path.is_file():
            raise TableError(f"There is no file '{path}'; check the path.")
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        name = glob.escape(str(path)).replace("'", "''")
        source = f"read_parquet('{name}')" if parquet else f"read_csv('{name}', header = true, all_varchar = true)"
        try:
            there = {str(row[0]).lower() for row in self.rows(f"DESCRIBE SELECT * FROM {source}")}
            missing = [column for column in columns if column.lower() not in there]
            if missing:
                raise TableError(f"{path.name} lacks the column {' and '.join(missing)}; is it the right table?")
            self._connection.execute(f"CREATE TABLE {table} AS " + query.format(source=source), values or None)
        except duckdb.Error as error:
            raise TableError(f"{path.name} cannot be read as CSV or Parquet ({reason(error)}).") from error

    def execute(self, query: str, **values: object) -> None:
        """Run a statement."""
        self._connection.execute(query, values or None)

    def rows(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """The rows that a query gives."""
        return self._connection.execute(query, values or None).fetchall()

    def number(self, query: str) -> int:
        """The one whole number that a query gives."""
        ((number,),) = self.rows(query)
        assert isinstance(number, int)
        return number


@contextmanager
def open_database() -> Iterator[Database]:
    """An empty database, gone when the block ends.

    Raises:
        MissingPackageError: DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingPackageError(
            "Reading NLST's tables requires DuckDB; install it with: pip install duckdb."
        ) from error
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        yield Database(connection)


def code(column: str) -> str:
    """SQL for a code as a whole number, written 59, 59.0 or '59'; NULL for anything else, such as SAS's ``.M``."""
    return f"TRY_CAST(TRY_CAST(CAST({column} AS VARCHAR) AS DOUBLE) AS BIGINT)"
