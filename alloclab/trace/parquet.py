"""Traces at rest: Parquet files, written and read a row group at a time.

Encodings are chosen by what the columns are: births count upwards and times grow, so ``object`` and ``time_ns`` are
stored as packed differences; the other columns repeat few values and get a dictionary. zstd does the rest: on a
recording of 0.8 million events 1.3 bytes an event, 1.4 more with addresses.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alloclab.errors import TraceError
from alloclab.files import beside
from alloclab.trace.arrow import DTYPES, FIELDS, stacks_to_arrow, to_arrow, to_events, type_fits
from alloclab.trace.model import ADDRESS_FIELD, SCHEMA, SCHEMA_VERSION, STACK_FIELD, Events, Metadata

ROW_GROUP = 1 << 18
"""Rows of a row group and of a block when reading: about 12 MB of columns in memory."""
METADATA_KEY = "alloclab"
MAGIC = b"PAR1"

_DELTA_COLUMNS = ("object", "time_ns")
# Addresses that come back soon are zstd's to find: differences hide them, and they outgrow any dictionary.
_PLAIN_COLUMNS = ("address",)


class TraceWriter:
    """Writes a trace in row groups to a file beside ``path``, which takes its name only when all went well.

    A context manager; memory is bounded by one row group. The caller may reuse the arrays it has written.
    ``metadata`` may be replaced until the end. Raises OSError where the disk refuses.
    """

    def __init__(
        self, path: str | os.PathLike[str], metadata: Metadata, *, address: bool = False, stack: bool = False
    ) -> None:
        self.path = Path(path)
        self.metadata = metadata
        self._schema = pa.schema([*SCHEMA, *([ADDRESS_FIELD] if address else []), *([STACK_FIELD] if stack else [])])
        self._names = [field.name for field in self._schema if field.name != "stack"]
        self._pending = {name: np.empty(ROW_GROUP, DTYPES[name]) for name in self._names}
        self._stacks: list[pa.ListArray] | None = [] if stack else None
        self._fill = 0
        self.rows = 0
        self._beside = beside(self.path)

    def __enter__(self) -> TraceWriter:
        try:
            with self._naming_the_file():
                self._writer = self._create()
        except BaseException:  # made, but not begun
            self._beside.unlink(missing_ok=True)
            raise
        return self

    def _create(self) -> pq.ParquetWriter:
        return pq.ParquetWriter(
            self._beside,
            self._schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=[name for name in self._names if name not in (*_DELTA_COLUMNS, *_PLAIN_COLUMNS)],
            column_encoding={name: "DELTA_BINARY_PACKED" for name in self._names if name in _DELTA_COLUMNS},
        )

    @contextlib.contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        """pyarrow's errors do not say which file they are about."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or errno.EIO), str(self.path)) from error

    def write(self, events: Events) -> None:
        """Append a block. Raises ValueError where a column is missing or has another length."""
        done, total = 0, len(events)
        columns = {name: getattr(events, name) for name in self._names}
        for name, column in columns.items():
            if column is None or len(column) != total:
                raise ValueError(f"column {name} has {None if column is None else len(column)} rows, not {total}")
        while done < total:
            step = min(total - done, ROW_GROUP - self._fill)
            for name, column in columns.items():
                self._pending[name][self._fill : self._fill + step] = column[done : done + step]
            if self._stacks is not None:
                self._stacks.append(stacks_to_arrow(events.stack, done, step))
            done += step
            self._fill += step
            if self._fill == ROW_GROUP:
                self._flush()
        self.rows += total

    def _flush(self) -> None:
        columns = [to_arrow(name, self._pending[name][: self._fill]) for name in self._names]
        if self._stacks is not None:
            columns.append(pa.chunked_array(self._stacks, STACK_FIELD.type))
            self._stacks.clear()
        with self._naming_the_file():
            self._writer.write_table(pa.table(columns, schema=self._schema))
        self._fill = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._naming_the_file():
                    self._finish()
        finally:
            if self._beside.exists():
                with contextlib.suppress(OSError):  # a full disk refuses the footer too; the first error is the one
                    self._writer.close()
                self._beside.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._fill:
            self._flush()
        self._writer.add_key_value_metadata({METADATA_KEY: json.dumps(dataclasses.asdict(self.metadata))})
        self._writer.close()
        self._beside.replace(self.path)


class Trace:
    """A trace on disk. Opening reads the footer only; :meth:`blocks` streams the rows."""

    def __init__(self, path: Path, metadata: Metadata, rows: int, columns: frozenset[str], name: str = "") -> None:
        self.path = path
        self.metadata = metadata
        self.name = name or path.stem
        self.columns = columns
        self._rows = rows

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Trace:
        """Raises TraceError for what is missing, empty, truncated, no Parquet, or Parquet of something else."""
        path = Path(path)
        with _open_parquet(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            text = (file.metadata.metadata or {}).get(METADATA_KEY.encode())
        _check_columns(path, schema)
        return cls(path, _read_metadata(path, text), rows, frozenset(FIELDS).intersection(schema.names))

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        return f"Trace({str(self.path)!r}, {self._rows} events)"

    def blocks(self, columns: Iterable[str] | None = None) -> Iterator[Events]:
        """The rows in order, at most ROW_GROUP at a time.

        ``columns`` names those to read; others hold 0, -1 (object, time_ns), False or None. All that the file has are
        read where it is None. Raises TraceError naming the row where a value does not belong.
        """
        wanted = self.columns if columns is None else self.columns.intersection(columns)
        row = 0
        with _open_parquet(self.path) as file:
            batches = file.iter_batches(ROW_GROUP, columns=sorted(wanted))
            while True:
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                except (pa.ArrowException, OSError) as error:
                    raise TraceError(f"{self.path}: damaged after row {row}: {_one_line(error)}") from error
                if batch.num_rows:
                    yield to_events(self.path, batch, row)
                    row += batch.num_rows


def _open_parquet(path: Path) -> pq.ParquetFile:
    """The file, checked as far as its footer."""
    if not path.exists():
        raise TraceError(f"{path}: no such file")
    if path.is_dir():
        raise TraceError(f"{path}: is a folder, expected a trace file")
    with path.open("rb") as raw:
        head = raw.read(len(MAGIC))
    if not head:
        raise TraceError(f"{path}: empty file, expected a trace")
    if head != MAGIC:
        raise TraceError(f"{path}: not a Parquet file: starts with {head!r}, expected {MAGIC!r}")
    try:
        return pq.ParquetFile(path, read_dictionary=["op"], buffer_size=1 << 20, memory_map=False)
    except (pa.ArrowException, OSError) as error:
        raise TraceError(f"{path}: truncated or damaged Parquet file: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_columns(path: Path, schema: pa.Schema) -> None:
    missing = [name for name in SCHEMA.names if name not in schema.names]
    if missing:
        raise TraceError(f"{path}: not a trace: column{'s' * (len(missing) > 1)} {', '.join(missing)} missing")
    for name in FIELDS:
        if schema.names.count(name) > 1:
            raise TraceError(f"{path}: column {name} is there twice")
        if name in schema.names and not type_fits(name, schema.field(name).type):
            expected = "string" if name == "op" else FIELDS[name].type
            raise TraceError.at(path, f"column {name}", str(schema.field(name).type), str(expected))


def _read_metadata(path: Path, text: bytes | None) -> Metadata:
    """What the footer says; a file that a foreign tool wrote says nothing."""
    if text is None:
        return Metadata()
    try:
        values = json.loads(text)
        known = {field.name for field in dataclasses.fields(Metadata)}
        metadata = Metadata(**{key: value for key, value in values.items() if key in known})
        metadata = dataclasses.replace(metadata, command=tuple(metadata.command))
        newer = metadata.schema > SCHEMA_VERSION
    except (ValueError, TypeError, AttributeError) as error:
        raise TraceError(f"{path}: unreadable metadata: {_one_line(error)}") from error
    if newer:
        raise TraceError(f"{path}: schema version {metadata.schema}, this alloclab reads up to {SCHEMA_VERSION}")
    return metadata
