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
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from alloclab.errors import TraceError
from alloclab.files import beside
from alloclab.trace.model import (
    ADDRESS_FIELD,
    NO_OBJECT,
    OP_LABELS,
    SCHEMA,
    SCHEMA_VERSION,
    STACK_FIELD,
    Events,
    Metadata,
)

ROW_GROUP = 1 << 18
"""Rows of a row group and of a block when reading: about 12 MB of columns in memory."""
METADATA_KEY = "alloclab"
MAGIC = b"PAR1"

_DELTA_COLUMNS = ("object", "time_ns")
_PLAIN_COLUMNS = (
    "address",
)  # what comes back soon is zstd's to find; deltas hide it, and no dictionary is large enough
_FILL = {"object": NO_OBJECT, "time_ns": -1, "address": 0}  # what stands for null in memory
_ALL_FIELDS = {field.name: field for field in (*SCHEMA, ADDRESS_FIELD, STACK_FIELD)}


class Stacks(Sequence[Sequence[int]]):
    """The stack column of a block, turned into Python lists only where somebody looks."""

    def __init__(self, lists: pa.ListArray) -> None:
        self.lists = lists

    def __len__(self) -> int:
        return len(self.lists)

    @overload
    def __getitem__(self, index: int) -> Sequence[int]: ...
    @overload
    def __getitem__(self, index: slice) -> Stacks: ...
    def __getitem__(self, index: int | slice) -> Sequence[int] | Stacks:
        if isinstance(index, slice):
            return Stacks(self.lists[index])
        frames: list[int] = self.lists[index].as_py() or []
        return frames


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
        self._pending = {name: np.empty(ROW_GROUP, _DTYPES[name]) for name in self._names}
        self._stacks: list[pa.ListArray] | None = [] if stack else None
        self._fill = 0
        self.rows = 0
        self._beside = beside(self.path)

    def __enter__(self) -> TraceWriter:
        with self._naming_the_file():
            self._writer = self._create()
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
                self._stacks.append(_stack_array(events.stack, done, step))
            done += step
            self._fill += step
            if self._fill == ROW_GROUP:
                self._flush()
        self.rows += total

    def _flush(self) -> None:
        columns = [_to_arrow(name, self._pending[name][: self._fill]) for name in self._names]
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


_DTYPES: dict[str, npt.DTypeLike] = {
    "op": np.uint8,
    "failed": np.bool_,
    "thread": np.uint32,
    "object": np.int64,
    "time_ns": np.int64,
    "size": np.uint64,
    "count": np.uint64,
    "align": np.uint64,
    "address": np.uint64,
}


def _to_arrow(name: str, column: npt.NDArray[Any]) -> pa.Array:
    if name == "op":
        return pa.DictionaryArray.from_arrays(pa.array(column.view(np.int8)), pa.array(OP_LABELS))
    if name in _FILL:
        return pa.array(column, mask=column == _FILL[name])
    return pa.array(column)


def _stack_array(stack: Sequence[Sequence[int]] | None, start: int, length: int) -> pa.ListArray:
    if stack is None:
        return pa.nulls(length, STACK_FIELD.type)
    if isinstance(stack, Stacks):
        return stack.lists[start : start + length]
    return pa.array([list(frames) for frames in stack[start : start + length]], STACK_FIELD.type)


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
        return cls(path, _read_metadata(path, text), rows, frozenset(_ALL_FIELDS).intersection(schema.names))

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
                    yield _to_events(self.path, batch, row)
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
    for name in _ALL_FIELDS:
        if schema.names.count(name) > 1:
            raise TraceError(f"{path}: column {name} is there twice")
        if name in schema.names and not _type_fits(name, schema.field(name).type):
            expected = "string" if name == "op" else _ALL_FIELDS[name].type
            raise TraceError.at(path, f"column {name}", str(schema.field(name).type), str(expected))


def _type_fits(name: str, found: pa.DataType) -> bool:
    """Whether values of the type found can be read.

    Any integers where integers belong, as tools choose their own width; in nullable columns floats and nothing but
    nulls too, as pandas makes them.
    """
    if name == "op":
        text = found.value_type if pa.types.is_dictionary(found) else found
        return bool(pa.types.is_string(text) or pa.types.is_large_string(text))
    if name == "failed":
        return bool(pa.types.is_boolean(found))
    if name == "stack":
        return bool(
            (pa.types.is_list(found) or pa.types.is_large_list(found)) and pa.types.is_integer(found.value_type)
        )
    nullable = name in _FILL
    return bool(pa.types.is_integer(found) or (nullable and (pa.types.is_floating(found) or pa.types.is_null(found))))


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


def _to_events(path: Path, batch: pa.RecordBatch, row: int) -> Events:
    columns: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        if name not in batch.schema.names:
            neutral = None if name == "address" else np.full(batch.num_rows, _FILL.get(name, 0), dtype)
            columns[name] = neutral
            continue
        array = batch.column(name)
        if array.null_count and name not in _FILL:
            at = row + pc.index(array.is_null(), True).as_py()
            raise TraceError.at(path, f"row {at}, column {name}", "null", "a value")
        columns[name] = _op_codes(path, array, row) if name == "op" else _to_numpy(path, name, array, row)
    if "stack" in batch.schema.names:
        columns["stack"] = Stacks(batch.column("stack").cast(STACK_FIELD.type))
    return Events(**columns)


def _op_codes(path: Path, array: pa.Array, row: int) -> npt.NDArray[np.uint8]:
    """Codes by label: another writer's dictionary may have any order, and labels that no row uses."""
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    labels = array.dictionary.to_pylist()
    indices = array.indices.to_numpy()
    if tuple(labels) == OP_LABELS:
        known: npt.NDArray[np.uint8] = indices.astype(np.uint8)
        return known
    unknown = len(OP_LABELS)
    codes = np.array([OP_LABELS.index(label) if label in OP_LABELS else unknown for label in labels], np.uint8)
    ops: npt.NDArray[np.uint8] = codes[indices]
    if unknown in codes and unknown in ops:
        at = int(np.argmax(ops == unknown))
        raise TraceError.at(path, f"row {row + at}", f"op {labels[indices[at]]!r}", "one of " + ", ".join(OP_LABELS))
    return ops


def _to_numpy(path: Path, name: str, array: pa.Array, row: int) -> npt.NDArray[Any]:
    target = _ALL_FIELDS[name].type
    if array.type != target:
        array = _cast(path, name, array, target, row)
    if array.null_count:
        array = array.fill_null(_FILL[name])
    if name == "failed":  # unpacking bits is slow, and nearly always there is nothing in them
        if array.true_count == 0:
            return np.zeros(len(array), np.bool_)
        return np.asarray(array.to_numpy(zero_copy_only=False))
    return np.asarray(array.to_numpy())


def _cast(path: Path, name: str, array: pa.Array, target: pa.DataType, row: int) -> pa.Array:
    def fits(part: pa.Array) -> bool:
        try:
            part.cast(target)
        except pa.ArrowInvalid:
            return False
        return True

    if fits(array):
        return array.cast(target)
    at = _first_misfit(array, fits)
    raise TraceError.at(path, f"row {row + at}, column {name}", str(array[at].as_py()), f"a value of type {target}")


def _first_misfit(array: pa.Array, fits: Callable[[pa.Array], bool]) -> int:
    """By bisection: the first row below which all fit."""
    low, high = 0, len(array)  # array[:low] fits, array[:high] does not
    while high - low > 1:
        middle = (low + high) // 2
        if fits(array[low:middle]):
            low = middle
        else:
            high = middle
    return low
