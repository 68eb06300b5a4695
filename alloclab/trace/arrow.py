"""Columns between Arrow and numpy: what a trace's file holds, whoever wrote it, and what a block in memory holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from alloclab.errors import TraceError
from alloclab.trace.model import ADDRESS_FIELD, NO_OBJECT, OP_LABELS, SCHEMA, STACK_FIELD, Events

FIELDS = {field.name: field for field in (*SCHEMA, ADDRESS_FIELD, STACK_FIELD)}
"""Every column a trace may have."""

DTYPES: dict[str, npt.DTypeLike] = {
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
"""Columns that are arrays in memory."""

FILL = {"object": NO_OBJECT, "time_ns": -1, "address": 0}
"""What stands for null in memory."""


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


def to_arrow(name: str, column: npt.NDArray[Any]) -> pa.Array:
    """A column of a block as the schema has it, with nulls where memory holds a stand-in."""
    if name == "op":
        return pa.DictionaryArray.from_arrays(pa.array(column.view(np.int8)), pa.array(OP_LABELS))
    if name in FILL:
        return pa.array(column, mask=column == FILL[name])
    return pa.array(column)


def stacks_to_arrow(stack: Sequence[Sequence[int]] | None, start: int, length: int) -> pa.ListArray:
    """Stacks of rows ``start`` to ``start + length``; nulls where there are none."""
    if stack is None:
        return pa.nulls(length, STACK_FIELD.type)
    if isinstance(stack, Stacks):
        return stack.lists[start : start + length]
    return pa.array([list(frames) for frames in stack[start : start + length]], STACK_FIELD.type)


def type_fits(name: str, found: pa.DataType) -> bool:
    """Whether values of the type found can be read.

    Any integers where integers belong, as tools choose their own width; in nullable columns floats and nothing but
    nulls too, as pandas makes them.
    """
    if name == "op":
        text = found.value_type if pa.types.is_dictionary(found) else found
        return bool(pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_string_view(text))
    if name == "failed":
        return bool(pa.types.is_boolean(found))
    if name == "stack":
        return bool(
            (pa.types.is_list(found) or pa.types.is_large_list(found)) and pa.types.is_integer(found.value_type)
        )
    nullable = name in FILL
    return bool(pa.types.is_integer(found) or (nullable and (pa.types.is_floating(found) or pa.types.is_null(found))))


def to_events(path: Path, batch: pa.RecordBatch, row: int) -> Events:
    """A batch whose first row is ``row`` of the file. Raises TraceError naming the row of a value that does not fit."""
    columns: dict[str, Any] = {}
    for name, dtype in DTYPES.items():
        if name not in batch.schema.names:
            neutral = None if name == "address" else np.full(batch.num_rows, FILL.get(name, 0), dtype)
            columns[name] = neutral
            continue
        array = batch.column(name)
        if array.null_count and name not in FILL:
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
    target = FIELDS[name].type
    if array.type != target:
        array = _cast(path, name, array, target, row)
    if array.null_count:
        array = array.fill_null(FILL[name])
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
