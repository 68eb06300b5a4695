"""Traces: the schema, Parquet, validation, statistics, compilation, importers."""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alloclab.trace.parquet import Trace

__all__ = ["load"]


def load(path: str | os.PathLike[str]) -> Trace:
    """The trace in a file: Parquet, or any format that an importer knows by its content.

    A foreign file is imported, strictly, into a temporary Parquet file that is removed with the Trace.
    Raises TraceError, one line, for a file that is missing, malformed or of no known format.
    """
    from alloclab.trace.parquet import MAGIC, Trace

    path = Path(path)
    if not path.is_file() or path.stat().st_size == 0 or _starts_with(path, MAGIC):
        return Trace.open(path)
    from alloclab.trace.importers import import_file

    handle, name = tempfile.mkstemp(prefix="alloclab-", suffix=".parquet")
    os.close(handle)
    converted = Path(name)
    try:
        import_file(path, converted)
        trace = Trace.open(converted)
    except BaseException:
        converted.unlink(missing_ok=True)
        raise
    trace.name = path.stem
    weakref.finalize(trace, converted.unlink, missing_ok=True)
    return trace


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
