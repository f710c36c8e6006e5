"""The catalogue: read-only SQL over everything a home holds.

    from storage import catalog
    catalog.open_catalog(".spar").query("SELECT iteration, count(*) FROM preference_pairs GROUP BY iteration")

Nothing is kept: each catalogue is an in-memory DuckDB whose views read the Parquet files named by the manifests, so
it can be opened while a run goes on, by any number of readers. It shows the home as it was when it was opened.
"""

import logging
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import duckdb
import pyarrow as pa

from spar_core.errors import StorageError
from storage import views
from storage.artifacts import ArtifactStore, Damaged, Scan
from storage.home import Home
from storage.ledger import Ledger
from storage.lineage import edges
from storage.schemas import TABLES, columns_of, schema_of

_log = logging.getLogger(__name__)

_REQUESTS_AT_ONCE = 16
_READING = (duckdb.StatementType.SELECT,)
_PIVOT = duckdb.StatementType.MULTI  # how DuckDB names a PIVOT, but also a COPY of one
_EXPLAIN = re.compile(r"\s*explain(\s+analyze)?\b", re.IGNORECASE)
_QUERY_START = re.compile(r"\s*(pivot|from|select|with)\b", re.IGNORECASE)
# What the text of a query can cause; anything else may be a file's fault.
_USERS_FAULT = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)


class Catalog:
    """The views of one home. Close it, or use it as a context manager. For one thread at a time."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._store = ArtifactStore(home)
        self._verified = False
        self._waiting: dict[str, str] = {}
        # On the home's disk where it can be written: what does not fit into memory may not fit into /tmp either.
        scratch = home.work if os.access(home.work, os.W_OK) else None
        self._spill = tempfile.TemporaryDirectory(prefix="spar-sql-", dir=scratch)
        self._scan = self._store.scan()
        try:
            self._connection = self._connect()
        except duckdb.Error:
            self._scan = self._rescan()
            self._connection = self._connect()
        self._warn(self._scan)

    @property
    def damaged(self) -> tuple[Damaged, ...]:
        """The artifacts left out, and why."""
        return self._scan.damaged

    def query(self, sql: str, parameters: Sequence[object] | None = None) -> pa.Table:
        """The answer to one reading SQL statement; `parameters` fill its question marks.

        Raises:
            StorageError: the statement is wrong (with DuckDB's message), or does more than read.
        """
        self._check(sql)
        try:
            return self._run(sql, parameters)
        except _USERS_FAULT as error:
            raise StorageError(str(error)) from error
        except duckdb.Error as error:
            if not self._leave_out_damaged():
                raise StorageError(str(error)) from error
        try:
            return self._run(sql, parameters)
        except duckdb.Error as error:
            raise StorageError(str(error)) from error

    def rows(self, sql: str, parameters: Sequence[object] | None = None) -> list[dict[str, Any]]:
        """Like `query`, as one dictionary per row.

        Raises:
            StorageError: as for `query`.
        """
        return cast("list[dict[str, Any]]", self.query(sql, parameters).to_pylist())

    def close(self) -> None:
        """Release memory and scratch; idempotent."""
        self._connection.close()
        self._spill.cleanup()

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, sql: str, parameters: Sequence[object] | None) -> pa.Table:
        self._create_waiting([table for table in self._waiting if re.search(rf"\b{table}\b", sql, re.IGNORECASE)])
        try:
            return self._connection.sql(sql, params=parameters).to_arrow_table()
        except duckdb.CatalogException:
            if not self._waiting:
                raise
        self._create_waiting(list(self._waiting))  # a name that the query puts together
        return self._connection.sql(sql, params=parameters).to_arrow_table()

    def _check(self, sql: str) -> None:
        explained = _EXPLAIN.match(sql)
        body = sql[explained.end() :] if explained else sql
        try:
            statements = self._connection.extract_statements(body)
        except duckdb.Error as error:
            raise StorageError(str(error)) from error
        if len(statements) != 1:
            raise StorageError(f"one SQL statement at a time, not {len(statements)}")
        kind = statements[0].type
        if kind not in _READING and not (kind == _PIVOT and _QUERY_START.match(body)):
            raise StorageError(f"the catalogue is read-only: {kind.name} is not allowed, only SELECT and the like")

    def _leave_out_damaged(self) -> bool:
        """Look into every file for damage that sizes do not show; True if the views changed."""
        if self._verified:
            return False
        known = len(self._scan.damaged)
        self._scan = self._rescan()
        if len(self._scan.damaged) == known:
            return False
        self._connection.close()
        self._connection = self._connect()
        self._warn(self._scan)
        return True

    def _rescan(self) -> Scan:
        self._verified = True
        return self._store.scan(verify=True)

    def _warn(self, scan: Scan) -> None:
        for folder, problems in scan.damaged:
            _log.warning("left out of the catalogue: %s: %s", folder, "; ".join(problems))

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        if self._home.remote is not None:
            connection.register_filesystem(self._home.remote.objects.files())
            # They wait for the store, not for cores.
            connection.execute(f"SET threads={max(_REQUESTS_AT_ONCE, os.cpu_count() or 1)}")
        try:
            self._create_views(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create_views(self, connection: duckdb.DuckDBPyConnection) -> None:
        ledger = Ledger(self._home)
        models = ledger.models()
        connection.execute(f"CREATE SCHEMA {views.INTERNAL}")
        tables = {
            "runs": views.runs_table(ledger.runs()),
            "stages": views.stages_table(ledger.stages()),
            "models": views.models_table(models),
            "promotions": views.promotions_table(ledger.promotions()),
            "lineage": views.lineage_table(edges((entry.manifest for entry in self._scan.whole), models)),
            "artifacts": views.artifacts_table(*self._scan),
        } | {f"empty_{table}": _empty(table) for table in TABLES}
        for name, content in tables.items():
            connection.register("incoming", content)
            connection.execute(f"CREATE TABLE {views.INTERNAL}.{name} AS SELECT * FROM incoming")
            connection.unregister("incoming")
        for name in views.LEDGER_VIEWS:
            connection.execute(f"CREATE VIEW {name} AS {views.LEDGER_VIEWS[name]}")
        files = self._files()
        for table, record in TABLES.items():
            names = [column.field.name for column in columns_of(record)]
            self._waiting[table] = views.record_view(table, names, files.get(table, []))
        if self._home.remote is None:
            self._create_waiting(list(self._waiting), connection)
        # DuckDB also lets queries read and write what lies where it spills to: that must be a folder of its own.
        connection.execute(f"SET temp_directory={views.quoted(self._spill.name)}")
        _lock_down(connection, [path for paths in files.values() for path in paths])

    def _create_waiting(self, tables: Sequence[str], connection: duckdb.DuckDBPyConnection | None = None) -> None:
        """Create the views of these records.

        To create a view is to open its files: over an object store those that nobody asks for would take seconds.
        """
        for table in tables:
            (connection or self._connection).execute(f"CREATE VIEW {table} AS {self._waiting.pop(table)}")

    def _files(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for artifact in self._scan.whole:
            for table, address in self._store.addresses(artifact):
                found.setdefault(table, []).append(address)
        return found


def open_catalog(home: Home | Path | str | None = None) -> Catalog:
    """The catalogue of a home (default: `$SPAR_HOME`, else `.spar`); an empty home has empty views.

    Raises:
        StorageError: the views cannot be made, or a later version laid out the home.
    """
    where = Home.default() if home is None else home if isinstance(home, Home) else Home(home)
    where.check_layout()
    try:
        return Catalog(where)
    except duckdb.Error as error:
        raise StorageError(f"cannot open the catalogue of {where.root}: {error}") from error


def _empty(table: str) -> pa.Table:
    schema = schema_of(TABLES[table])
    for name in {"stage_key", "stage"} - set(schema.names):
        schema = schema.append(pa.field(name, pa.string()))
    return schema.empty_table()


def _lock_down(connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    paths = ", ".join(views.quoted(path) for path in files)
    connection.execute("SET python_enable_replacements=false")
    connection.execute(f"SET allowed_paths=[{paths}]")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")
